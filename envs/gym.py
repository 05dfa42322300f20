"""The gymnasium adapter: `make` an environment by its id, or adapt one that you have with `from_gym`."""

import contextlib
import difflib
import functools
import importlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .environment import Environment
from .gym_spaces import actions, observations
from .preprocessing import preprocess_observation
from .specs import EnvironmentSpecs
from .types import StepType, TimeStep, Tree

_ZERO, _ONE = np.float32(0.0), np.float32(1.0)
_INSTALL = {
    "ale_py": 'pip install "jax-agents[atari]"',
    "mujoco": 'pip install "jax-agents[mujoco]"',
    "box2d": 'pip install "jax-agents[box2d]"',
    "toy_text": 'pip install "gymnasium[toy-text]"',
    "classic_control": 'pip install "gymnasium[classic-control]"',
}


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
    """A gymnasium environment as a host `Environment`.

    Example:
      >>> env = make("CartPole-v1")
      >>> env.reset(seed=0).observation.shape, env.specs.action.num_values
      ((4,), 2)

    Args:
      env: a gymnasium id, which may name the module that registers it ("my_games:Maze-v0"), or a function without arguments
        that returns a new gymnasium environment.
      num_envs: None for one environment, unbatched; n for n of them and a leading `[n]` axis (environment i gets seed + i).
      max_episode_steps: the time limit instead of the registered one; -1: none; None: the registered one.
      wrappers: applied in order to each environment (gymnasium's own, for example).
      render_mode: gymnasium's; dropped if an id's environment does not support it.
      vectorization: "sync", or "async" for a process each (spawned, so a script needs its `if __name__ == "__main__"`).
      env_options: keyword arguments of the environment's constructor: `{"continuous": True}` for LunarLander-v3.
      preprocess: apply `preprocessing.get_preprocessor` of the observation space, after the wrappers.

    Raises:
      ValueError: for an unknown id, naming the nearest ones, and for an observation or action space that has no spec.
      ImportError: for a missing extra, naming the command that installs it.
    """
    if vectorization not in ("sync", "async"):
        raise ValueError(f"vectorization: expected 'sync' or 'async', got {vectorization!r}")
    if num_envs is not None and num_envs < 1:
        raise ValueError(f"num_envs: expected None or at least 1, got {num_envs}")
    if not isinstance(env, str) and not callable(env):
        raise TypeError(f"env: expected an id or a function that makes an environment, got {env!r}; adapt it with from_gym")
    wrappers = (*wrappers, preprocess_observation) if preprocess else tuple(wrappers)
    create = _creator(env, max_episode_steps, wrappers, render_mode, dict(env_options or {}))
    if num_envs is None:
        return from_gym(_installed(create, env))
    import gymnasium

    if vectorization == "sync":
        vector = _installed(lambda: gymnasium.vector.SyncVectorEnv([create] * num_envs), env)
    else:
        with _main_without_a_missing_file():
            vector = _installed(lambda: gymnasium.vector.AsyncVectorEnv([create] * num_envs, context="spawn"), env)
    return GymVectorEnvironment(vector, copy=False)


def from_gym(env: Any) -> Environment:
    """Adapts an existing gymnasium environment, or vector environment in `NEXT_STEP` auto-reset mode; it is then ours to step.

    The discount is 0 where `terminated` is true and 1 elsewhere, times the step's `info["discount"]` if it has one.

    Raises:
      TypeError: if it is neither.
      ValueError: if a vector environment resets in another mode, or a space has no spec.
    """
    import gymnasium

    if isinstance(env, gymnasium.vector.VectorEnv):
        return GymVectorEnvironment(env)
    if isinstance(env, gymnasium.Env):
        return GymEnvironment(env)
    raise TypeError(f"env: expected a gymnasium Env or VectorEnv, got {type(env).__name__}; make one with envs.gym.make(id)")


class GymEnvironment:
    """One gymnasium environment, unbatched; see `from_gym`."""

    num_envs = None

    def __init__(self, env: Any):
        self.env = env
        observation, self._observation = observations(env.observation_space, None)
        action, self._action = actions(env.action_space, None)
        self.specs = EnvironmentSpecs(observation, action)
        self._ended = True
        self._closed = False

    def reset(self, seed: int | None = None) -> TimeStep:
        """Starts a new episode; a seed also fixes the episodes after it."""
        observation, _ = self.env.reset(seed=seed)
        self._ended = False
        return TimeStep(StepType.FIRST, _ZERO, _ONE, self._observation(observation))

    def step(self, action: Tree) -> TimeStep:
        """Takes an action; after a LAST time step, and before any reset, it resets instead.

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
        return TimeStep(step_type, np.float32(reward), discount, self._observation(observation))

    def render(self) -> np.ndarray:
        """A picture of the present state, uint8 `[H, W, 3]`."""
        return _frame(self.env)

    def close(self) -> None:
        """Closes the gymnasium environment."""
        if not self._closed:
            self._closed = True
            self.env.close()


class GymVectorEnvironment:
    """A gymnasium vector environment: `[n]` on every leaf; see `from_gym`."""

    def __init__(self, env: Any, copy: bool = True):
        from gymnasium.vector import AutoresetMode

        mode = env.metadata.get("autoreset_mode")
        if mode not in (AutoresetMode.NEXT_STEP, AutoresetMode.NEXT_STEP.value):
            raise ValueError(
                f"env: expected a vector environment with autoreset_mode NEXT_STEP, got {mode}; "
                "make it with autoreset_mode=gymnasium.vector.AutoresetMode.NEXT_STEP"
            )
        self.env = env
        self.num_envs: int = env.num_envs
        observation, self._observation = observations(env.single_observation_space, self.num_envs, copy)
        action, self._action = actions(env.single_action_space, self.num_envs)
        self.specs = EnvironmentSpecs(observation, action)
        self._ended: np.ndarray | None = None
        self._closed = False

    def reset(self, seed: int | None = None) -> TimeStep:
        """Starts new episodes; environment i gets seed + i."""
        observation, _ = self.env.reset(seed=seed)
        n = self.num_envs
        self._ended = np.zeros(n, np.bool_)
        return TimeStep(np.zeros(n, np.int32), np.zeros(n, np.float32), np.ones(n, np.float32), self._observation(observation))

    def step(self, action: Tree) -> TimeStep:
        """Takes `[n]` actions; an environment whose last time step was LAST resets and ignores its action.

        Raises:
          SpecError: if the actions do not meet their spec.
        """
        if self._ended is None:
            return self.reset()
        observation, reward, terminated, truncated, info = self.env.step(self._action(action))
        first, self._ended = self._ended, terminated | truncated
        step_type = self._ended.astype(np.int32)
        step_type += 1
        step_type[first] = StepType.FIRST
        discount = (~terminated).astype(np.float32)
        if "discount" in info:  # of those that said one
            discount *= np.where(info["_discount"], info["discount"], _ONE)
        return TimeStep(step_type, reward.astype(np.float32), discount, self._observation(observation))

    def render(self) -> np.ndarray:
        """Pictures of the present states, uint8 `[n, H, W, 3]`."""
        return _frame(self.env)

    def close(self) -> None:
        """Closes the environments, and their processes if they have any."""
        if not self._closed:
            self._closed = True
            self.env.close()


def render_state(env_id: str, attributes: Mapping[str, Any]) -> np.ndarray:
    """gymnasium's picture, uint8 `[H, W, 3]`, of environment `env_id` with these attributes set (its state, say)."""
    env = _renderer(env_id)
    for name, value in attributes.items():
        setattr(env, name, value)
    return _frame(env)


@functools.lru_cache(maxsize=8)  # a renderer takes a second to start, and it has no state but what render_state sets
def _renderer(env_id: str) -> Any:
    env = _creator(env_id, None, (), "rgb_array", {})().unwrapped
    env.reset(seed=0)
    return env


def _frame(env: Any) -> np.ndarray:
    with _no_display():
        try:
            frame = env.render()
        except Exception as error:
            spec = getattr(env, "envs", [env])[0].spec
            if spec is None or "mujoco" not in str(spec.entry_point):
                raise
            raise RuntimeError(
                f"render: MuJoCo could not start OpenGL ({error}). Without a display set the environment variable MUJOCO_GL, "
                "before the first picture, to 'egl' (a GPU's driver, or Mesa: apt-get install libegl1) or to 'osmesa' "
                "(apt-get install libosmesa6)"
            ) from error
    if frame is None:
        raise RuntimeError('render: the environment was made without pictures; make it with render_mode="rgb_array"')
    return np.array(frame, np.uint8)


@contextlib.contextmanager
def _main_without_a_missing_file() -> Iterator[None]:
    """Spawned processes run the main module's file; a program read from standard input says it had one named `<stdin>`."""
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


@contextlib.contextmanager
def _no_display() -> Iterator[None]:
    """On a Linux machine without a display, tells SDL and MuJoCo (which draw for gymnasium) so: else they look for one."""
    headless = sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ)
    drivers = {"SDL_VIDEODRIVER": "dummy", "MUJOCO_GL": "egl"} if headless else {}
    added = {name: driver for name, driver in drivers.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def _creator(
    env: str | Callable[[], Any],
    max_episode_steps: int | None,
    wrappers: tuple[Callable[[Any], Any], ...],
    render_mode: str | None,
    options: dict[str, Any],
) -> Callable[[], Any]:
    """A function that makes one environment. It is pickled by value, so that a spawned process imports gymnasium alone."""
    if isinstance(env, str):
        spec = _find_spec(env)
        if render_mode is not None and render_mode in _render_modes(spec, env):
            options["render_mode"] = render_mode
    else:
        spec, factory = None, env
        if options:
            raise ValueError(f"env_options: expected none with a function, got {options}; pass them on inside the function")

    def create():
        import gymnasium

        if spec is not None:
            made = gymnasium.make(spec, max_episode_steps=max_episode_steps, disable_env_checker=True, **options)
        else:
            made = factory()
            if max_episode_steps is not None and max_episode_steps > 0:
                made = gymnasium.wrappers.TimeLimit(made, max_episode_steps)
        for wrapper in wrappers:
            made = wrapper(made)
        return made

    return create


def _find_spec(env_id: str) -> Any:
    import gymnasium

    module, _, env_id = env_id.rpartition(":")
    if module:  # as gymnasium.make takes it
        importlib.import_module(module)
    if env_id.startswith("ALE/") or "NoFrameskip-v" in env_id:
        try:
            import ale_py
        except ImportError as error:
            raise ImportError(f"{env_id} needs ale-py: {_INSTALL['ale_py']}") from error
        gymnasium.register_envs(ale_py)
    try:
        return gymnasium.spec(env_id)
    except (gymnasium.error.Error, ModuleNotFoundError) as error:
        known = {name.lower(): name for name in gymnasium.registry}
        near = [known[name] for name in difflib.get_close_matches(env_id.lower(), known, n=3, cutoff=0.5)]
        hint = f"did you mean {' or '.join(near)}?" if near else "see gymnasium.pprint_registry()"
        raise ValueError(
            f"env: no environment {env_id!r} is registered; {hint} Atari games are named like ALE/Pong-v5 and need "
            f"{_INSTALL['ale_py']}; environments of other packages are registered by importing these"
        ) from error


def _render_modes(spec: Any, env_id: str) -> Sequence[str]:
    from gymnasium.envs.registration import load_env_creator

    entry = _installed(lambda: spec.entry_point if callable(spec.entry_point) else load_env_creator(spec.entry_point), env_id)
    return (getattr(entry, "metadata", None) or {}).get("render_modes", ())


def _installed(create: Callable[[], Any], env: Any) -> Any:
    """Calls `create`; a missing package becomes an ImportError that says how to install it."""
    import gymnasium

    try:
        return create()
    except (gymnasium.error.DependencyNotInstalled, ImportError) as error:
        entry = str(gymnasium.registry[env].entry_point) if env in gymnasium.registry else ""
        command = next((command for name, command in _INSTALL.items() if name in entry.lower()), None)
        if command is None:
            raise
        raise ImportError(f"{env} needs a package that is not installed ({error}): {command}") from error
