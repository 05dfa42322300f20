"""CartPole without its velocities, for DQN without memory: what cannot solve it. Those with memory
are in `gates`.
"""

from typing import Any

import jax.numpy as jnp
import optax

from ...agents import DqnAgent, losses, periodic
from ...envs import select_observation
from ...envs.classic import CartPole
from ...envs.environment import JaxEnvironment
from ...envs.types import Array
from ...learners import OffPolicyScan
from ...networks import QNetwork, Sequential


def positions_only() -> JaxEnvironment:
    """CartPole-v1 that shows the cart's position and the pole's angle, and hides both
    velocities.
    """
    return select_observation(CartPole(), (0, 2))


def memoryless_dqn_cartpole() -> OffPolicyScan:
    """As the gate of recurrent DQN, without memory, with as many rows in each update."""
    env = positions_only()
    agent = DqnAgent(
        env.specs, QNetwork(2, hidden=(64, 64), encoder=Sequential([_widened])), **_dqn_options()
    )
    return OffPolicyScan(
        agent, env, num_envs=8, rows_per_iteration=2, batch_size=384, warmup_rows=250
    )


def _widened(observation: Array) -> Array:
    """Position and angle in fifths of their limits or so: velocities are small differences of
    them.
    """
    return observation / jnp.array([0.5, 0.05])


def _dqn_options() -> dict[str, Any]:
    return {
        "optimizer": optax.adam(optax.linear_schedule(1e-3, 0.0, 8_000), eps=1e-5),
        "gamma": 0.98,
        "n_step": 3,
        "double": True,
        "epsilon": optax.linear_schedule(1.0, 0.05, 2_400),
        "target_update": periodic(100),
        "td_loss": losses.squared,
    }
