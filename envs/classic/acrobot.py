"""Acrobot (Sutton 1996, with the book's equations), as gymnasium's Acrobot-v1."""

import dataclasses
import math
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np

from ..episodic import EpisodeState, EpisodicEnvironment
from ..specs import BoundedSpec, DiscreteSpec, EnvironmentSpecs
from ..types import Array


@dataclasses.dataclass(frozen=True, eq=False)
class Acrobot(EpisodicEnvironment):
    """Swings the tip of two links above the bar by a torque on the joint between them.

    Actions 0, 1 and 2 are torques of -1, 0 and 1 N m. Observation float32 `[6]`: cosine and sine of
    the first angle (0 hangs down), of the second (relative to the first), and the two angular
    velocities (rad/s). The reward is -1 per step, and 0 for the step that reaches the goal, which
    terminates the task.
    """

    max_episode_steps: int | None = 500
    gravity: float = 9.8
    dt: float = 0.2
    length_1: float = 1.0
    mass_1: float = 1.0
    mass_2: float = 1.0
    center_1: float = 0.5
    center_2: float = 0.5
    inertia: float = 1.0
    max_speed_1: float = 4 * math.pi
    max_speed_2: float = 9 * math.pi

    @cached_property
    def specs(self) -> EnvironmentSpecs:
        """The observation of six numbers, and three torques."""
        high = np.array([1.0, 1.0, 1.0, 1.0, self.max_speed_1, self.max_speed_2], np.float32)
        return EnvironmentSpecs(BoundedSpec((6,), np.float32, -high, high), DiscreteSpec(3))

    def initial_physics(self, key: Array) -> Array:
        """Both links hang down, within 0.1 rad and rad/s: angles and velocities, `[4]`."""
        return jax.random.uniform(key, (4,), jnp.float32, -0.1, 0.1)

    def dynamics(self, physics: Array, action: Array) -> tuple[Array, Array, Array]:
        """Integrates the equations of motion by a Runge-Kutta step of order 4."""
        torque = (action - 1).astype(physics.dtype)
        k1 = self._rates(physics, torque)
        k2 = self._rates(physics + self.dt / 2 * k1, torque)
        k3 = self._rates(physics + self.dt / 2 * k2, torque)
        k4 = self._rates(physics + self.dt * k3, torque)
        angle_1, angle_2, speed_1, speed_2 = physics + self.dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        angle_1 = jnp.mod(angle_1 + math.pi, 2 * math.pi) - math.pi
        angle_2 = jnp.mod(angle_2 + math.pi, 2 * math.pi) - math.pi
        speed_1 = jnp.clip(speed_1, -self.max_speed_1, self.max_speed_1)
        speed_2 = jnp.clip(speed_2, -self.max_speed_2, self.max_speed_2)
        terminated = -jnp.cos(angle_1) - jnp.cos(angle_2 + angle_1) > 1.0
        reward = jnp.where(terminated, np.float32(0.0), np.float32(-1.0))
        return jnp.stack([angle_1, angle_2, speed_1, speed_2]), reward, terminated

    def observe(self, physics: Array) -> Array:
        """Cosine and sine of both angles, and both angular velocities, `[6]`."""
        angle_1, angle_2, speed_1, speed_2 = physics
        return jnp.stack(
            [
                jnp.cos(angle_1),
                jnp.sin(angle_1),
                jnp.cos(angle_2),
                jnp.sin(angle_2),
                speed_1,
                speed_2,
            ]
        )

    def render(self, state: EpisodeState) -> np.ndarray:
        """Returns gymnasium's picture of the state, uint8 `[H, W, 3]`."""
        from ..gym import render_state

        return render_state("Acrobot-v1", {"state": np.asarray(state.physics, np.float64)})

    def _rates(self, physics: Array, torque: Array) -> Array:
        angle_1, angle_2, speed_1, speed_2 = physics
        m2l1c2 = self.mass_2 * self.length_1 * self.center_2
        cos_2 = jnp.cos(angle_2)
        sin_2 = jnp.sin(angle_2)
        m2_inertia = self.mass_2 * self.center_2**2 + self.inertia
        d1 = (
            self.mass_1 * self.center_1**2
            + self.mass_2 * self.length_1**2
            + m2_inertia
            + 2 * m2l1c2 * cos_2
            + self.inertia
        )
        d2 = m2_inertia + m2l1c2 * cos_2
        # gymnasium writes cos(x - pi/2) for sin(x).
        phi_2 = self.mass_2 * self.center_2 * self.gravity * jnp.sin(angle_1 + angle_2)
        weight = (
            (self.mass_1 * self.center_1 + self.mass_2 * self.length_1)
            * self.gravity
            * jnp.sin(angle_1)
        )
        phi_1 = (
            -m2l1c2 * speed_2**2 * sin_2 - 2 * m2l1c2 * speed_2 * speed_1 * sin_2 + weight + phi_2
        )
        acc_2 = (torque + d2 / d1 * phi_1 - m2l1c2 * speed_1**2 * sin_2 - phi_2) / (
            m2_inertia - d2**2 / d1
        )
        acc_1 = -(d2 * acc_2 + phi_1) / d1
        return jnp.stack([speed_1, speed_2, acc_1, acc_2])
