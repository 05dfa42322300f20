"""A gate is run and judged; tests of learning run those of the table."""

import dataclasses

import numpy as np
import pytest

from jax_agents.evaluation.statistics import summarize
from jax_agents.experiments import ReinforceConfig
from jax_agents.experiments.gates.run import GateResult, run_gate
from jax_agents.experiments.gates.table import Gate

GATE = Gate(
    "pg-cartpole-tiny",
    "REINFORCE",
    "CartPole-v1",
    ReinforceConfig(num_steps=160, hidden=(4,), num_envs=2, num_rows=8),
    steps=160,
    gate=5.0,
    floor=1.0,
    source="none",
    num_seeds=3,
)


@pytest.fixture(scope="module")
def result():
    """What the gate's three seeds gave."""
    return run_gate(GATE, num_episodes=4, num_reports=5)


def test_each_seed_is_trained_and_played(result):
    assert result.gate is GATE
    assert result.scores.shape == (3,)
    assert result.summary == summarize(result.scores)
    assert ((result.scores >= 8) & (result.scores <= 500)).all()  # no pole falls sooner
    assert len(set(result.metrics["loss"].ravel().tolist())) > 3
    assert {values.shape for values in result.metrics.values()} == {(3, 5)}
    steps = result.metrics["steps"].sum(axis=1)  # without the rows between episodes
    assert ((steps > 140) & (steps < 160)).all()
    assert result.compile_seconds > 0
    assert result.train_seconds > 0


def judged(result, **values):
    """The same result, of a gate with other demands."""
    return result._replace(gate=dataclasses.replace(GATE, **values))


def test_a_gate_is_passed_by_the_intervals_lower_end_and_every_seed(result):
    scores = np.array([10.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0])
    made = GateResult(GATE, scores, summarize(scores), result.metrics, 2.0, 31.0)
    low = made.summary["low"]
    assert made.summary["min"] == 10
    assert low > 10
    assert judged(made, gate=low, floor=10.0).passed
    assert not judged(made, gate=low + 0.1, floor=10.0).passed
    assert not judged(made, gate=low, floor=10.1).passed


def test_a_result_is_told_in_one_line(result):
    told = str(result._replace(train_seconds=31.4, compile_seconds=2.0))
    assert told.startswith(f"pg-cartpole-tiny: IQM {result.summary['iqm']:.1f} [")
    assert told.endswith("floor 1; 3 seeds, 160 steps each, 31 s + 2 s to compile: passed")
    assert str(judged(result, floor=501.0)).endswith(": FAILED")
