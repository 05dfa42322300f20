"""CartPole (Barto, Sutton and Anderson 1983), as gymnasium's CartPole-v1."""

import dataclasses
import math
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..episodic import EpisodeState, EpisodicEnvironment
from ..specs import BoundedSpec, DiscreteSpec, EnvironmentSpecs
from ..types import Array


@dataclasses.dataclass(frozen=True, eq=False)
class CartPole(EpisodicEnvironment):
    """Balances a pole on a cart by pushing it left (0) or right (1); the reward is 1 per step.

    Observation float32 `[4]`: position (m), velocity (m/s), angle (rad), angular velocity (rad/s).
    The task terminates when the cart leaves +-`x_limit` or the pole +-`angle_limit`. Masses in kg,
    lengths in m, forces in N, times in s.
    """

    max_episode_steps: int | None = 500
    gravity: float = 9.8
    cart_mass: float = 1.0
    pole_mass: float = 0.1
    half_length: float = 0.5
    force: float = 10.0
    dt: float = 0.02
    x_limit: float = 2.4
    angle_limit: float = 12 * 2 * math.pi / 360

    @cached_property
    def specs(self) -> EnvironmentSpecs:
        """The observation of four numbers, and two pushes."""
        high = np.array([2 * self.x_limit, np.inf, 2 * self.angle_limit, np.inf], np.float32)
        return EnvironmentSpecs(BoundedSpec((4,), np.float32, -high, high), DiscreteSpec(2))

    def initial_physics(self, key: Array) -> Array:
        """All four numbers are uniform in -0.05 .. 0.05, `[4]`."""
        return jax.random.uniform(key, (4,), jnp.float32, -0.05, 0.05)

    def dynamics(self, physics: Array, action: Array) -> tuple[Array, Array, Array]:
        """Integrates the equations of motion by an Euler step."""
        _, x_dot, angle, angle_dot = physics
        mass = self.cart_mass + self.pole_mass
        moment = self.pole_mass * self.half_length
        cos = jnp.cos(angle)
        sin = jnp.sin(angle)
        force = jnp.where(action == 1, self.force, -self.force)
        push = (force + moment * angle_dot**2 * sin) / mass
        angle_acc = (self.gravity * sin - cos * push) / (
            self.half_length * (4 / 3 - self.pole_mass * cos**2 / mass)
        )
        x_acc = push - moment * angle_acc * cos / mass
        rates = jnp.stack([x_dot, x_acc, angle_dot, angle_acc])
        physics = physics + self.dt * rates
        terminated = (jnp.abs(physics[0]) > self.x_limit) | (jnp.abs(physics[2]) > self.angle_limit)
        return physics, np.float32(1.0), terminated

    def render(self, state: EpisodeState) -> np.ndarray:
        """Returns gymnasium's picture of the state, uint8 `[H, W, 3]`."""
        from ..gym import render_state

        attributes: dict[str, Any] = {
            "state": np.asarray(state.physics, np.float64),
            "length": self.half_length,
        }
        return render_state("CartPole-v1", attributes)
