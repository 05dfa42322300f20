"""MountainCar (Moore 1990), as gymnasium's MountainCar-v0, and the valley that it drives in."""

import dataclasses
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np

from ..episodic import EpisodeState, EpisodicEnvironment
from ..specs import BoundedSpec, DiscreteSpec, EnvironmentSpecs
from ..types import Array


@dataclasses.dataclass(frozen=True, eq=False)
class Valley(EpisodicEnvironment):
    """A valley with a weak car in it; physics are its position and velocity, `[2]`.

    Environments that derive from this add an engine and a reward.
    """

    max_episode_steps: int | None = 200
    gravity: float = 0.0025
    min_position: float = -1.2
    max_position: float = 0.6
    max_speed: float = 0.07
    goal_position: float = 0.5
    goal_velocity: float = 0.0

    def initial_physics(self, key: Array) -> Array:
        """The car rests at a position in -0.6 .. -0.4."""
        return jnp.stack(
            [jax.random.uniform(key, (), jnp.float32, -0.6, -0.4), jnp.zeros((), jnp.float32)]
        )

    @property
    def observation_spec(self) -> BoundedSpec:
        """The bounds of position and velocity."""
        low = np.array([self.min_position, -self.max_speed], np.float32)
        high = np.array([self.max_position, self.max_speed], np.float32)
        return BoundedSpec((2,), np.float32, low, high)

    def push(self, physics: Array, acceleration: Array) -> tuple[Array, Array]:
        """Pushes the car, which the left wall stops.

        Args:
          physics: Position and velocity.
          acceleration: Change of the velocity by the engine.

        Returns:
          The next physics, and True if the goal was reached fast enough.
        """
        position, speed = physics
        speed = speed + acceleration - self.gravity * jnp.cos(3 * position)
        speed = jnp.clip(speed, -self.max_speed, self.max_speed)
        position = jnp.clip(position + speed, self.min_position, self.max_position)
        speed = jnp.where((position <= self.min_position) & (speed < 0), 0.0, speed)
        reached = (position >= self.goal_position) & (speed >= self.goal_velocity)
        return jnp.stack([position, speed]), reached


@dataclasses.dataclass(frozen=True, eq=False)
class MountainCar(Valley):
    """Drives a weak car out of a valley; the reward is -1 per step until the goal.

    Actions push left (0), coast (1) or push right (2). Observation float32 `[2]`: position and
    velocity. Reaching `goal_position` at `goal_velocity` or faster terminates.
    """

    force: float = 0.001

    @cached_property
    def specs(self) -> EnvironmentSpecs:
        """Position and velocity, and three pushes."""
        return EnvironmentSpecs(self.observation_spec, DiscreteSpec(3))

    def dynamics(self, physics: Array, action: Array) -> tuple[Array, Array, Array]:
        """Pushes the car; the reward is -1."""
        physics, reached = self.push(physics, (action - 1).astype(jnp.float32) * self.force)
        return physics, np.float32(-1.0), reached

    def render(self, state: EpisodeState) -> np.ndarray:
        """Returns gymnasium's picture of the state, uint8 `[H, W, 3]`."""
        from ..gym import render_state

        return render_state("MountainCar-v0", {"state": np.asarray(state.physics, np.float64)})
