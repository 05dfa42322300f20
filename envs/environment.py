"""What every environment is: one protocol for the host, one for pure JAX."""

from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np

from .specs import EnvironmentSpecs
from .types import TimeStep, Tree


@runtime_checkable
class Environment(Protocol):
    """An environment on the host: stateful, with NumPy in and out.

    Everything it returns is its caller's to keep: no later call changes an array that was handed
    out. All time steps follow the one convention of auto-reset: a LAST time step carries the
    episode's true final observation, and the `step` after it ignores its action, resets, and
    returns a FIRST time step with reward 0 and discount 1.
    """

    @property
    def specs(self) -> EnvironmentSpecs:
        """What it takes and gives, without batch axes."""

    @property
    def num_envs(self) -> int | None:
        """None: time steps and actions are unbatched. n: every leaf has a leading `[n]` axis."""

    def reset(self, seed: int | None = None) -> TimeStep:
        """Starts new episodes and returns FIRST time steps; the same seed gives the same episodes
        for the same actions.
        """

    def step(self, action: Tree) -> TimeStep:
        """Takes an action `[*spec]` or `[n, *spec]`; raises `SpecError` if it does not meet the
        action's spec.
        """

    def render(self) -> np.ndarray:
        """A picture of the present state, uint8 `[H, W, 3]`, or `[n, H, W, 3]`."""

    def close(self) -> None:
        """Frees what it holds; a second call does nothing."""


@runtime_checkable
class JaxEnvironment(Protocol):
    """An environment in JAX: a frozen dataclass (`eq=False`) whose methods are pure, for one
    environment; vmap and scan them.

    The convention of auto-reset is `Environment`'s. State is a pytree of fixed shapes that carries
    its own random key. An environment that can be pictured also has
    `render(state) -> uint8 [H, W, 3]`, which runs on the host.
    """

    @property
    def specs(self) -> EnvironmentSpecs:
        """What it takes and gives."""

    def reset(self, key: jax.Array) -> tuple[Any, TimeStep]:
        """The first state of a stream of episodes, and its FIRST time step, from a typed random
        key.
        """

    def step(self, state: Any, action: Tree) -> tuple[Any, TimeStep]:
        """The next state and time step; a step from a LAST state ignores `action` and starts the
        next episode.
        """
