"""MountainCar with a continuous force, as gymnasium's MountainCarContinuous-v0."""

import dataclasses
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np

from ..episodic import EpisodeState, EpisodicEnvironment
from ..specs import BoundedSpec, EnvironmentSpecs
from ..types import Array


@dataclasses.dataclass(frozen=True, eq=False)
class MountainCarContinuous(EpisodicEnvironment):
    """Drives a weak car out of a valley with a force in -1 .. 1, float32 `[1]`.

    The engine clips the force, the price does not. Observation float32 `[2]`: position and
    velocity. The reward is -0.1 action^2, and 100 more for reaching `goal_position` at
    `goal_velocity` or faster, which terminates the task.
    """

    max_episode_steps: int | None = 999
    power: float = 0.0015
    gravity: float = 0.0025
    min_position: float = -1.2
    max_position: float = 0.6
    max_speed: float = 0.07
    goal_position: float = 0.45
    goal_velocity: float = 0.0

    @cached_property
    def specs(self) -> EnvironmentSpecs:
        """Position and velocity, and a force in -1 .. 1."""
        low = np.array([self.min_position, -self.max_speed], np.float32)
        high = np.array([self.max_position, self.max_speed], np.float32)
        return EnvironmentSpecs(
            BoundedSpec((2,), np.float32, low, high), BoundedSpec((1,), np.float32, -1.0, 1.0)
        )

    def initial_physics(self, key: Array) -> Array:
        """The car rests at a position in -0.6 .. -0.4; position and velocity, `[2]`."""
        return jnp.stack(
            [jax.random.uniform(key, (), jnp.float32, -0.6, -0.4), jnp.zeros((), jnp.float32)]
        )

    def dynamics(self, physics: Array, action: Array) -> tuple[Array, Array, Array]:
        """Pushes the car, which the left wall stops."""
        position, speed = physics
        force = jnp.clip(action[0], -1.0, 1.0)
        speed = jnp.clip(
            speed + force * self.power - self.gravity * jnp.cos(3 * position),
            -self.max_speed,
            self.max_speed,
        )
        position = jnp.clip(position + speed, self.min_position, self.max_position)
        speed = jnp.where((position <= self.min_position) & (speed < 0), 0.0, speed)
        terminated = (position >= self.goal_position) & (speed >= self.goal_velocity)
        reward = jnp.where(terminated, np.float32(100.0), np.float32(0.0)) - 0.1 * action[0] ** 2
        return jnp.stack([position, speed]), reward, terminated

    def render(self, state: EpisodeState) -> np.ndarray:
        """Returns gymnasium's picture of the state, uint8 `[H, W, 3]`."""
        from ..gym import render_state

        return render_state(
            "MountainCarContinuous-v0", {"state": np.asarray(state.physics, np.float64)}
        )
