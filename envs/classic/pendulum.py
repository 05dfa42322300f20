"""Swinging up a pendulum, as gymnasium's Pendulum-v1."""

import dataclasses
import math
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np

from ..episodic import EpisodeState, EpisodicEnvironment
from ..specs import BoundedSpec, EnvironmentSpecs
from ..types import Array


@dataclasses.dataclass(frozen=True, eq=False)
class Pendulum(EpisodicEnvironment):
    """Holds a pendulum upright with a torque in N m, float32 `[1]`; the task never terminates.

    The torque is clipped to +-`max_torque`. Observation float32 `[3]`: cosine and sine of the angle
    (0 is upright), angular velocity (rad/s). The reward is -(angle^2 + 0.1 velocity^2 + 0.001
    torque^2) in the state in which the action was taken.
    """

    max_episode_steps: int | None = 200
    gravity: float = 10.0
    mass: float = 1.0
    length: float = 1.0
    dt: float = 0.05
    max_speed: float = 8.0
    max_torque: float = 2.0

    @cached_property
    def specs(self) -> EnvironmentSpecs:
        """The observation of three numbers, and a torque."""
        high = np.array([1.0, 1.0, self.max_speed], np.float32)
        action = BoundedSpec((1,), np.float32, -self.max_torque, self.max_torque)
        return EnvironmentSpecs(BoundedSpec((3,), np.float32, -high, high), action)

    def initial_physics(self, key: Array) -> Array:
        """Any angle, and an angular velocity in -1 .. 1; both, `[2]`."""
        high = np.array([math.pi, 1.0], np.float32)
        return jax.random.uniform(key, (2,), jnp.float32, -high, high)

    def dynamics(self, physics: Array, action: Array) -> tuple[Array, Array, Array]:
        """Integrates the equation of motion by a semi-implicit Euler step."""
        angle, speed = physics
        torque = jnp.clip(action[0], -self.max_torque, self.max_torque)
        from_upright = jnp.mod(angle + math.pi, 2 * math.pi) - math.pi
        cost = from_upright**2 + 0.1 * speed**2 + 0.001 * torque**2
        gravity = 3 * self.gravity / (2 * self.length) * jnp.sin(angle)
        acceleration = gravity + 3 / (self.mass * self.length**2) * torque
        speed = jnp.clip(speed + acceleration * self.dt, -self.max_speed, self.max_speed)
        return jnp.stack([angle + speed * self.dt, speed]), -cost, jnp.zeros((), jnp.bool_)

    def observe(self, physics: Array) -> Array:
        """Cosine and sine of the angle, and the angular velocity, `[3]`."""
        angle, speed = physics
        return jnp.stack([jnp.cos(angle), jnp.sin(angle), speed])

    def render(self, state: EpisodeState) -> np.ndarray:
        """Returns gymnasium's picture of the state, uint8 `[H, W, 3]`."""
        from ..gym import render_state

        return render_state(
            "Pendulum-v1", {"state": np.asarray(state.physics, np.float64), "last_u": None}
        )
