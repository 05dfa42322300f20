"""CartPole without its velocities needs memory: agents without any stay far below the gates."""

import dataclasses

import jax.numpy as jnp
import optax
import pytest

from jax_agents.agents import DqnAgent, losses, periodic
from jax_agents.envs import select_observation
from jax_agents.envs.classic import CartPole
from jax_agents.experiments.configs.presets import PRESETS
from jax_agents.experiments.gates.run import run_gate
from jax_agents.experiments.gates.table import find
from jax_agents.learners import OffPolicyScan
from jax_agents.networks import QNetwork, Sequential


def memoryless_dqn() -> OffPolicyScan:
    """The loop of the gate of recurrent DQN without memory, with as many rows in each update."""
    env = select_observation(CartPole(), (0, 2))  # hides both velocities
    # Velocities are small differences of positions and angles, which are scaled up to show them.
    widened = Sequential([lambda observation: observation / jnp.array([0.5, 0.05])])
    agent = DqnAgent(
        env.specs,
        QNetwork(2, hidden=(64, 64), encoder=widened),
        optax.adam(optax.linear_schedule(1e-3, 0.0, 8_000), eps=1e-5),
        gamma=0.98,
        n_step=3,
        double=True,
        epsilon=optax.linear_schedule(1.0, 0.05, 2_400),
        target_update=periodic(100),
        td_loss=losses.squared,
    )
    return OffPolicyScan(
        agent, env, num_envs=8, rows_per_iteration=2, batch_size=384, warmup_rows=250
    )


MEMORYLESS_PPO = dataclasses.replace(PRESETS["RECURRENT_PPO"].config, lstm_size=None)


@pytest.mark.learning
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("name", "memoryless"),
    [("recurrent-dqn-cartpole", memoryless_dqn), ("recurrent-ppo-cartpole", MEMORYLESS_PPO)],
)
def test_without_memory_every_seed_stays_below_200(name, memoryless):
    gate = find(name)
    result = run_gate(
        dataclasses.replace(gate, name=f"{name}, memoryless", configuration=memoryless)
    )
    print(result)
    assert gate.gate >= 350 and result.summary["max"] < 200, (
        f"{result}\nscores {result.scores.round(1)}"
    )
