"""The protocols of environments: one for the host, one for pure JAX."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np

from .specs import EnvironmentSpecs
from .types import TimeStep, Tree


@runtime_checkable
class Environment(Protocol):
    """An environment on the host, which has state and takes and returns NumPy arrays.

    Its caller may keep everything that it returns: no later call changes such an array. All time
    steps follow the one convention of auto-reset: a LAST time step carries the episode's true final
    observation, and the `step` after it ignores its action, resets, and returns a FIRST time step
    with reward 0 and discount 1.
    """

    @property
    def specs(self) -> EnvironmentSpecs:
        """The specs of the environment, without batch axes."""

    @property
    def num_envs(self) -> int | None:
        """The number n of environments, for a leading `[n]` axis on every leaf; None: no axis."""

    def reset(self, seed: int | None = None) -> TimeStep:
        """Starts new episodes and returns FIRST time steps.

        The same seed gives the same episodes for the same actions.
        """

    def step(self, action: Tree) -> TimeStep:
        """Takes an action `[*spec]` or `[n, *spec]` and returns the next time step.

        Raises:
          SpecError: if the action does not meet its spec.
        """

    def render(self) -> np.ndarray:
        """Returns a picture of the present state, uint8 `[H, W, 3]`, or `[n, H, W, 3]`."""

    def close(self) -> None:
        """Frees the environment's resources; a second call does nothing."""


@runtime_checkable
class JaxEnvironment(Protocol):
    """An environment in JAX: a frozen dataclass (`eq=False`) with pure methods to vmap and scan.

    The methods are those of a single environment. The convention of auto-reset is `Environment`'s.
    State is a pytree of fixed shapes that carries its own random key. An environment that can be
    pictured also has `render(state) -> uint8 [H, W, 3]`, which runs on the host.
    """

    @property
    def specs(self) -> EnvironmentSpecs:
        """The specs of the environment."""

    def reset(self, key: jax.Array) -> tuple[Any, TimeStep]:
        """Returns the first state of a stream of episodes and its FIRST time step.

        Args:
          key: Typed random key of all draws of the stream.
        """

    def step(self, state: Any, action: Tree) -> tuple[Any, TimeStep]:
        """Returns the next state and time step.

        A step from a LAST state ignores `action` and starts the next episode.
        """


def check_host_environment(env: Any) -> None:
    """Checks that this is an environment on the host.

    Raises:
      TypeError: if it is of another kind; the message says how to make one of it.
    """
    if not hasattr(env, "num_envs") or not hasattr(env, "specs"):
        raise TypeError(
            f"expected an environment such as envs.gym.make gives, got {_name(env)}; "
            "envs.gym.from_gym makes one of a gymnasium environment, "
            "envs.HostEnvironment of one in JAX"
        )


def check_jax_environment(env: Any) -> None:
    """Checks that this is an environment in JAX.

    Raises:
      TypeError: if it is of another kind; the message says what is for it.
    """
    methods = all(callable(getattr(env, name, None)) for name in ("reset", "step"))
    if (
        isinstance(env, type)
        or not methods
        or not hasattr(env, "specs")
        or hasattr(env, "num_envs")
    ):
        raise TypeError(
            "expected an environment in JAX, such as envs.classic.CartPole(), got "
            f"{_name(env)}; environments on the host, such as gymnasium's, are for drivers.Driver "
            "and the learners named Loop"
        )


def _name(env: Any) -> str:
    return f"the class {env.__name__}" if isinstance(env, type) else type(env).__name__


def renderer(env: JaxEnvironment) -> Callable[[Any], np.ndarray]:
    """Returns the method `render(state)` of a JAX environment.

    Raises:
      NotImplementedError: if it has none.
    """
    if not hasattr(env, "render"):
        raise NotImplementedError(
            f"{type(env).__name__} has no render(state); add one that returns uint8 [H, W, 3]"
        )
    return env.render
