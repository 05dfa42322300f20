"""CartPole without its velocities needs memory: the same agents without it stay far below the gates
of those with it.
"""

import dataclasses

import pytest

from jax_agents.experiments.configs.base.presets import PRESETS
from jax_agents.experiments.gates.table.run import run_gate
from jax_agents.experiments.gates.table.table import find
from jax_agents.tests.learning import memoryless as tuned_recurrent


@pytest.mark.learning
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("name", "memoryless"),
    [
        ("recurrent-dqn-cartpole", tuned_recurrent.memoryless_dqn_cartpole),
        (
            "recurrent-ppo-cartpole",
            dataclasses.replace(PRESETS["RECURRENT_PPO"].config, lstm_size=None),
        ),
    ],
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
