"""The gymnasium adapter: `make` an environment by its id, or adapt one with `from_gym`."""

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import gym_sharing
from .checks import check_discount, check_specs
from .environment import Environment
from .gym_registry import find_spec, installed, render_modes
from .gym_rendering import picture
from .gym_spaces import actions, observations
from .preprocessing import preprocess_observation
from .specs import EnvironmentSpecs, SpecError
from .types import StepType, TimeStep, Tree

if TYPE_CHECKING:
    import gymnasium

_ZERO = np.float32(0.0)
_ONE = np.float32(1.0)


def make(
    env: str | Callable[[], Any],
    num_envs: int | None = None,
    *,
    max_episode_steps: int | None = None,
    wrappers: Sequence[Callable[[Any], Any]] = (),
    render_mode: str | None = "rgb_array",
    vectorization: str = "sync",
    env_options: Mapping[str, Any] | None = None,
    preprocess: bool = False,
) -> Environment:
    """Makes a gymnasium environment, as an `Environment` that is stepped from Python.

    Example:
      >>> env = make("CartPole-v1")
      >>> env.reset(seed=0).observation.shape, env.specs.action.num_values
      ((4,), 2)

    Args:
      env: A gymnasium id, which may begin with the module that registers it ("my_games:Maze-v0"),
        or a function without arguments that returns a new gymnasium environment.
      num_envs: Number n of environments, for a leading `[n]` axis (environment i gets seed + i);
        None for one without that axis.
      max_episode_steps: Time limit in steps; None for the registered one, if there is one, and -1
        for none.
      wrappers: Wrappers to apply in order to each environment, gymnasium's own for example.
      render_mode: Render mode of gymnasium, for an id whose environment supports it; a function
        sets its own.
      vectorization: How several environments run: "sync" for one process, "async" for a process
        each. The processes are spawned, so a script needs `if __name__ == "__main__"`.
      env_options: Keyword arguments of the environment's constructor, such as
        `{"continuous": True}` for LunarLander-v3.
      preprocess: True to apply `preprocessing.get_preprocessor` of the observation space after the
        wrappers.

    Raises:
      ValueError: if the id is unknown (the message names the nearest ones), an observation or
        action space has no spec, or the function returns an environment that it returned before,
        unless its adapter was closed.
      ImportError: if a package is missing; the message names the command that installs it.
    """
    if vectorization not in ("sync", "async"):
        raise ValueError(f"vectorization: expected 'sync' or 'async', got {vectorization!r}")
    if num_envs is not None and num_envs < 1:
        raise ValueError(f"num_envs: expected None or at least 1, got {num_envs}")
    if not isinstance(env, str) and not callable(env):
        raise TypeError(
            f"env: expected an id or a function that makes an environment, got {env!r}; "
            "adapt it with from_gym"
        )
    wrappers = (*wrappers, preprocess_observation) if preprocess else tuple(wrappers)
    create = _creator(env, max_episode_steps, wrappers, render_mode, dict(env_options or {}))
    if num_envs is None:
        made = installed(create, env)
        if callable(env):
            gym_sharing.check_new(made)
        return from_gym(made)
    import gymnasium

    if vectorization == "sync":
        vector = installed(lambda: gymnasium.vector.SyncVectorEnv([create] * num_envs), env)
    else:
        with _main_without_a_missing_file():
            vector = installed(
                lambda: gymnasium.vector.AsyncVectorEnv([create] * num_envs, context="spawn"), env
            )
    if callable(env):
        gym_sharing.check_new(vector)
    # These two classes make new arrays at each step, so that theirs need no copy.
    return GymVectorEnvironment(vector, copy=False)


def from_gym(env: "gymnasium.Env | gymnasium.vector.VectorEnv") -> Environment:
    """Adapts an existing gymnasium environment; only the adapter may step it from then on.

    The discount is 0 where `terminated` is true and 1 elsewhere, times the step's
    `info["discount"]` if it has one.

    Args:
      env: A `gymnasium.Env`, or a `gymnasium.vector.VectorEnv` whose auto-reset mode is
        `NEXT_STEP`.

    Raises:
      TypeError: if `env` is neither.
      ValueError: if a vector environment resets in another mode, or a space has no spec.
    """
    import gymnasium

    if isinstance(env, gymnasium.vector.VectorEnv):
        return GymVectorEnvironment(env)
    if isinstance(env, gymnasium.Env):
        return GymEnvironment(env)
    raise TypeError(
        f"env: expected a gymnasium Env or VectorEnv, got {type(env).__name__}; "
        "make one with envs.gym.make(id)"
    )


class _Adapter:
    """The parts that both adapters share."""

    def __init__(self, env: Any):
        self.env = env
        self._closed = False
        gym_sharing.hold(self, env)

    def render(self) -> np.ndarray:
        """Returns a picture of the present state, uint8 `[H, W, 3]`, or `[n, H, W, 3]`."""
        return picture(self.env)

    def close(self) -> None:
        """Closes the gymnasium environment, and its processes if it has any."""
        if not self._closed:
            self._closed = True
            gym_sharing.release(self, self.env)
            self.env.close()


class GymEnvironment(_Adapter):
    """One gymnasium environment, unbatched; `from_gym` makes it."""

    num_envs = None

    def __init__(self, env: "gymnasium.Env"):
        super().__init__(env)
        observation, self._observation = observations(env.observation_space, None)
        action, self._action = actions(env.action_space, None)
        self.specs = EnvironmentSpecs(observation, action)
        check_specs(self.specs)
        self._ended = True

    def reset(self, seed: int | None = None) -> TimeStep:
        """Starts a new episode; a seed also fixes all later episodes, until the next seed."""
        observation, _ = self.env.reset(seed=seed)
        self._ended = False
        return TimeStep(StepType.FIRST, _ZERO, _ONE, self._observation(observation))

    def step(self, action: Tree) -> TimeStep:
        """Takes an action; resets instead after a LAST time step, or if `reset` was never called.

        Raises:
          SpecError: if the action does not meet its spec.
        """
        if self._ended:
            return self.reset()
        observation, reward, terminated, truncated, info = self.env.step(self._action(action))
        step_type = StepType.MID
        if terminated or truncated:
            self._ended = True
            step_type = StepType.LAST
        discount = _ZERO if terminated else _ONE
        if "discount" in info:
            discount *= np.float32(info["discount"])
            check_discount(discount, "step")
        if reward is None:  # NumPy would make NaN of it
            raise SpecError(
                "reward: expected a number, but the environment's `step` returned None; "
                "return the reward there"
            )
        number = np.float32(reward)
        _check_rewards(number, ())
        return TimeStep(step_type, number, discount, self._observation(observation))


class GymVectorEnvironment(_Adapter):
    """A gymnasium vector environment, with `[n]` on every leaf; `from_gym` makes it."""

    def __init__(self, env: "gymnasium.vector.VectorEnv", copy: bool = True):
        from gymnasium.vector import AutoresetMode

        mode = env.metadata.get("autoreset_mode")
        if mode not in (AutoresetMode.NEXT_STEP, AutoresetMode.NEXT_STEP.value):
            raise ValueError(
                f"env: expected a vector environment with autoreset_mode NEXT_STEP, got {mode}; "
                "make it with autoreset_mode=gymnasium.vector.AutoresetMode.NEXT_STEP"
            )
        super().__init__(env)
        self.num_envs: int = env.num_envs
        observation, self._observation = observations(
            env.single_observation_space, self.num_envs, copy
        )
        action, self._action = actions(env.single_action_space, self.num_envs)
        self.specs = EnvironmentSpecs(observation, action)
        check_specs(self.specs)
        self._ended: np.ndarray | None = None

    def reset(self, seed: int | None = None) -> TimeStep:
        """Starts new episodes; environment i gets seed + i."""
        observation, _ = self.env.reset(seed=seed)
        n = self.num_envs
        self._ended = np.zeros(n, np.bool_)
        return TimeStep(
            np.zeros(n, np.int32),
            np.zeros(n, np.float32),
            np.ones(n, np.float32),
            self._observation(observation),
        )

    def step(self, action: Tree) -> TimeStep:
        """Takes actions `[n, *spec]`.

        An environment whose last time step was LAST resets and ignores its action.

        Raises:
          SpecError: if the actions do not meet their spec.
        """
        if self._ended is None:
            return self.reset()
        observation, reward, terminated, truncated, info = self.env.step(self._action(action))
        first = self._ended
        self._ended = terminated | truncated
        step_type = self._ended.astype(np.int32)
        step_type += 1  # MID is 1, and LAST is 2
        step_type[first] = StepType.FIRST
        discount = (~terminated).astype(np.float32)
        if "discount" in info:  # `_discount` marks the environments that gave one
            discount *= np.where(info["_discount"], info["discount"], _ONE)
            check_discount(discount, "step")
        rewards = reward.astype(np.float32)
        _check_rewards(rewards, (self.num_envs,))
        return TimeStep(step_type, rewards, discount, self._observation(observation))


def _check_rewards(reward: Any, shape: tuple[int, ...]) -> None:
    if reward.shape != shape:
        raise SpecError(
            f"step: reward: expected one number for each environment, shape {list(shape)}, got "
            f"shape {list(reward.shape)}; return one number, such as their sum"
        )


def render_state(env_id: str, attributes: Mapping[str, Any]) -> np.ndarray:
    """Returns gymnasium's picture, uint8 `[H, W, 3]`, of an environment in a given state.

    Args:
      env_id: Registered id of the environment.
      attributes: Attributes to set on it: the whole state, since environments are kept.
    """
    env = _renderer(env_id)
    for name, value in attributes.items():
        setattr(env, name, value)
    return picture(env)


# A renderer takes a second to start, so that it is kept.
@functools.lru_cache(maxsize=8)
def _renderer(env_id: str) -> Any:
    env = _creator(env_id, None, (), "rgb_array", {})().unwrapped
    env.reset(seed=0)
    return env


def _creator(
    env: str | Callable[[], Any],
    max_episode_steps: int | None,
    wrappers: tuple[Callable[[Any], Any], ...],
    render_mode: str | None,
    options: dict[str, Any],
) -> Callable[[], Any]:
    """Returns a function that makes one environment.

    cloudpickle sends it to spawned processes by value, so that they import this library only if a
    wrapper of it is among `wrappers`.
    """
    spec = find_spec(env) if isinstance(env, str) else None
    if isinstance(env, str) and render_mode is not None and render_mode in render_modes(spec, env):
        options["render_mode"] = render_mode
    if spec is None and options:
        raise ValueError(
            f"env_options: expected none with a function, got {options}; "
            "pass them on inside the function"
        )

    def create():
        import gymnasium

        if spec is not None:
            # The library's own checks of spaces and time steps come after.
            made = gymnasium.make(
                spec, max_episode_steps=max_episode_steps, disable_env_checker=True, **options
            )
        else:
            made = env()
            if max_episode_steps is not None and max_episode_steps > 0:
                made = gymnasium.wrappers.TimeLimit(made, max_episode_steps)
        for wrapper in wrappers:
            made = wrapper(made)
        return made

    return create


@contextlib.contextmanager
def _main_without_a_missing_file() -> Iterator[None]:
    """Hides the main module's file from spawned processes if it does not exist.

    Spawned processes run that file. The `__file__` of a program that was read from standard input
    is "<stdin>", which is no file.
    """
    main = sys.modules["__main__"]
    file = getattr(main, "__file__", None)
    missing = file is not None and not os.path.exists(file)
    if missing:
        del main.__file__
    try:
        yield
    finally:
        if missing:
            main.__file__ = file
