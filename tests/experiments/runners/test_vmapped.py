"""Runs on device that are vmapped: each is what it would be alone; tests of sweeps train more."""

import dataclasses

import jax
import numpy as np
import pytest

from jax_agents.experiments import ReinforceConfig
from jax_agents.experiments.runners import CompiledRunner, VmappedRuns
from jax_agents.experiments.trained.environments import jax_environment

CONFIG = ReinforceConfig(hidden=(8,), num_envs=2, num_rows=8, iterations_per_report=2)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LooksConfig(ReinforceConfig):
    """A configuration that looks at a number while it makes its agent."""

    def agent(self, specs):
        if self.gamma > 0.5:
            raise AssertionError("gamma is known")


def test_an_agent_that_looks_at_its_numbers_cannot_share():
    env = jax_environment("CartPole-v1")
    config = LooksConfig(hidden=(8,), num_envs=2, num_rows=16, iterations_per_report=2)
    assert not VmappedRuns(config, env, [0, 1], {"gamma": [0.1, 0.2]}).possible()


@pytest.fixture(scope="module")
def together():
    """Two runs, of which the second has other settings, after three reports of 32 steps.

    The second was left behind in the last.
    """
    runs = VmappedRuns(CONFIG, jax_environment("CartPole-v1"), [0, 1], {"gamma": [0.99, 0.5]})
    seen = []
    for active in ([True, True], [True, True], [True, False]):
        runs.advance(active)
        for member, acts in zip(runs.members, active, strict=True):
            if acts:
                seen.append((member, member.advance(CONFIG.steps_per_report)))
    return runs, seen


def test_each_run_computes_what_it_would_alone(together):
    runs, seen = together
    member = runs.members[1]
    env = jax_environment("CartPole-v1")
    config = dataclasses.replace(CONFIG, gamma=0.5)
    alone = CompiledRunner(config, config.agent(env.specs), env, 1)
    reports = [progress for owner, progress in seen if owner is member]
    assert len(reports) == 2
    for progress in reports:
        expected = alone.advance(
            config.steps_per_report - alone.num_steps % config.steps_per_report
        )
        assert progress.num_updates == expected.num_updates >= 2
        assert progress.metrics == pytest.approx(expected.metrics, rel=1e-3, abs=1e-5)
        assert progress.seconds > 0
    # It was left behind in the third report: neither its steps nor its parameters went on.
    assert member.num_steps == alone.num_steps >= 64
    jax.tree.map(
        lambda mine, its: np.testing.assert_allclose(mine, its, rtol=1e-3, atol=1e-5),
        member.train_state.params,
        alone.train_state.params,
    )
    assert runs.members[0].num_steps >= 96


def test_a_state_is_replaced_in_one_run_alone(together):
    runs, _ = together
    first, second = runs.members
    before = second.train_state
    state = first.train_state
    zeros = jax.tree.map(np.zeros_like, state.params)
    first.train_state = dataclasses.replace(state, params=zeros)
    assert not any(leaf.any() for leaf in jax.tree.leaves(first.train_state.params))
    jax.tree.map(np.testing.assert_array_equal, before.params, second.train_state.params)
    saved, counters = second.state()
    assert int(saved["agent"].step) == int(saved["loop"].iteration) >= 4
    assert counters == {"done": second.num_steps, "unreported": 0}
    with pytest.raises(ValueError, match="make a Trainer of its configuration"):
        second.set_state(saved, counters, 0)
