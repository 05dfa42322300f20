"""MountainCar with a continuous force, as gymnasium's MountainCarContinuous-v0."""

import dataclasses
from functools import cached_property

import jax.numpy as jnp
import numpy as np

from ..episodic import EpisodeState
from ..specs import BoundedSpec, EnvironmentSpecs
from ..types import Array
from .mountain_car import Valley


@dataclasses.dataclass(frozen=True, eq=False)
class MountainCarContinuous(Valley):
    """Drives a weak car out of a valley with a force in -1 .. 1, float32 `[1]`.

    The engine clips the force, the price does not. Observation float32 `[2]`: position and
    velocity. The reward is -0.1 action^2, and 100 more for reaching `goal_position` at
    `goal_velocity` or faster, which terminates the task.
    """

    max_episode_steps: int | None = 999
    power: float = 0.0015
    goal_position: float = 0.45

    @cached_property
    def specs(self) -> EnvironmentSpecs:
        """Position and velocity, and a force in -1 .. 1."""
        action = BoundedSpec((1,), np.float32, -1.0, 1.0)
        return EnvironmentSpecs(self.observation_spec, action)

    def dynamics(self, physics: Array, action: Array) -> tuple[Array, Array, Array]:
        """Pushes the car; the reward is the price of the force, and 100 at the goal."""
        force = jnp.clip(action[0], -1.0, 1.0)
        physics, reached = self.push(physics, force * self.power)
        reward = jnp.where(reached, np.float32(100.0), np.float32(0.0)) - 0.1 * action[0] ** 2
        return physics, reward, reached

    def render(self, state: EpisodeState) -> np.ndarray:
        """Returns gymnasium's picture of the state, uint8 `[H, W, 3]`."""
        from ..gym import render_state

        return render_state(
            "MountainCarContinuous-v0", {"state": np.asarray(state.physics, np.float64)}
        )
