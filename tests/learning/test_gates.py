"""Every agent reaches its gate: `pytest -m learning` (`-k ppo`); `-rP` shows the figures."""

import pytest

from jax_agents.experiments.gates.run import run_gate
from jax_agents.experiments.gates.table import GATES


@pytest.mark.learning
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("gate", GATES, ids=lambda gate: gate.name)
def test_gate(gate):
    result = run_gate(gate)
    print(result)
    assert result.passed, f"{result}\nscores {result.scores.round(1)}"
