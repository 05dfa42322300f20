"""Environments by name: gymnasium's ids, those that are written in JAX too, and a few of ours."""

import dataclasses
from collections.abc import Callable
from typing import Any

from ...envs import HostEnvironment, JaxEnvironment, TimeLimit, classic, gym, select_observation
from ...envs.checks import check_specs
from ...envs.environment import Environment
from ...envs.gym_sharing import check_new
from ..configs.checking import nearest

# gymnasium's ids of the environments that are there in JAX too
JAX_ENVIRONMENTS: dict[str, Callable[[], JaxEnvironment]] = {
    "Acrobot-v1": classic.Acrobot,
    "CartPole-v1": classic.CartPole,
    "MountainCar-v0": classic.MountainCar,
    "MountainCarContinuous-v0": classic.MountainCarContinuous,
    "Pendulum-v1": classic.Pendulum,
}
# our own, in JAX alone
OWN_ENVIRONMENTS: dict[str, Callable[[], JaxEnvironment]] = {
    # hides both velocities
    "CartPole-v1-positions": lambda: select_observation(classic.CartPole(), (0, 2)),
}
_ALL = JAX_ENVIRONMENTS | OWN_ENVIRONMENTS


def jax_environment(env: Any, max_episode_steps: int | None = None) -> JaxEnvironment:
    """Returns a JAX environment.

    Args:
      env: Name of the environment, or the environment itself.
      max_episode_steps: Another time limit; -1 for none; None for the environment's own.

    Raises:
      ValueError: if there is no JAX environment of that name, or its time limit has to stay.
      SpecError: if its specs are not in order.
      TypeError: if `env` is a host environment.
    """
    if isinstance(env, str):
        if env not in _ALL:
            raise ValueError(
                f"the device runner needs an environment written in JAX, and {env!r} is not; "
                f"{nearest(env, _ALL)} (All "
                "algorithms but ES have a runner 'loop', for every environment.)"
            )
        env = _ALL[env]()
    _check_can_be_made_again(env)
    if not isinstance(env, JaxEnvironment):
        raise ValueError(
            f"the device runner needs a JAX environment or the id of one, got {env!r}; "
            "use runner='loop'"
        )
    check_specs(env.specs)
    return _with_limit(env, max_episode_steps)


def host_environment(
    env: Any, num_envs: int | None, max_episode_steps: int | None = None, preprocess: bool = True
) -> Environment:
    """Returns an environment for the Python loop.

    Args:
      env: A gymnasium id, the name of one of `OWN_ENVIRONMENTS`, a function that makes a gymnasium
        environment, or a JAX environment.
      num_envs: Number of environments; None for an unbatched one.
      max_episode_steps: Another time limit; -1 for none; None for the environment's own.
      preprocess: Preprocess gymnasium's observations, as `envs.get_preprocessor` says.

    Raises:
      ValueError: for an unknown name; the message has the nearest ones.
      TypeError: if `env` is a host environment.
    """
    if isinstance(env, str) and env in OWN_ENVIRONMENTS:
        env = OWN_ENVIRONMENTS[env]()
    _check_can_be_made_again(env)
    if isinstance(env, str) or not isinstance(env, JaxEnvironment):
        return gym.make(env, num_envs, max_episode_steps=max_episode_steps, preprocess=preprocess)
    return HostEnvironment(_with_limit(env, max_episode_steps), num_envs)


def check_factory(env: Any) -> None:
    """Checks that a function that makes a gymnasium environment makes another one each time.

    Training and evaluation have an environment each. A function that fails when it is called again
    passes: whoever evaluates will see its error.

    Args:
      env: Environment as `host_environment` takes it; only functions are looked at. An environment
        of it must be in use.

    Raises:
      ValueError: if the function returns the environment that is in use.
    """
    if isinstance(env, str | JaxEnvironment) or not callable(env):
        return
    try:
        other = env()
    except Exception:  # an evaluation, which needs a second one, meets the same error and tells it
        return
    check_new(other)
    other.close()


def _check_can_be_made_again(env: Any) -> None:
    if not isinstance(env, type) and (hasattr(env, "num_envs") or hasattr(env, "action_space")):
        raise TypeError(
            "env: expected an id, a function that makes a gymnasium environment, or an "
            "environment in JAX, of which others are "
            f"made for evaluation, got the environment {type(env).__name__} itself"
        )


def _with_limit(env: Any, max_episode_steps: int | None) -> Any:
    if max_episode_steps is None:
        return env
    limit = None if max_episode_steps == -1 else max_episode_steps
    if hasattr(env, "max_episode_steps"):
        return dataclasses.replace(env, max_episode_steps=limit)
    if limit is None:
        raise ValueError(
            f"max_episode_steps=-1: {type(env).__name__} has no field max_episode_steps; "
            "give it none yourself"
        )
    return TimeLimit(env, limit)
