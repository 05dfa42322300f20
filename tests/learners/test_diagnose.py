"""`diagnose` passes an agent that is right, and blames the right part of one that is broken."""

import dataclasses
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_agents import agents, networks
from jax_agents.learners.diagnose import Diagnosis, ProbeResult, diagnose

PROBES = [
    "ConstantReward",
    "ObservationReward",
    "DelayedReward",
    "ActionReward",
    "ObservationActionReward",
]


def make(specs, cls=agents.DqnAgent, network=None, gamma=0.9, optimizer=None):
    network = network or networks.QNetwork(2, (32,))
    optimizer = optimizer or optax.adam(5e-3)
    return cls(
        specs, network, optimizer, gamma=gamma, epsilon=0.5, target_update=agents.periodic(10)
    )


def failures(diagnosis):
    return [result.name for result in diagnosis.results if not result.passed]


def test_dqn_learns_all_five_probes_within_a_tenth():
    diagnosis = diagnose(make)
    assert [result.name for result in diagnosis.results] == PROBES
    assert failures(diagnosis) == [] and diagnosis.blame is None
    for result in diagnosis.results:
        np.testing.assert_allclose(result.values, result.expected_values, atol=0.1)
    np.testing.assert_array_equal(diagnosis.results[3].actions, [1])
    np.testing.assert_array_equal(diagnosis.results[4].actions, [0, 1])
    assert "All probes pass." in str(diagnosis) and str(diagnosis).count("passes") == 5


@dataclasses.dataclass(frozen=True, eq=False)
class Altered(agents.DqnAgent):
    """A DqnAgent whose experience is tampered with before it learns from it."""

    def alter(self, rows):
        raise NotImplementedError

    def loss(self, params, state, experience, key, weights=None, *, shards=None):
        altered = self.alter(experience)
        return super().loss(params, state, altered, key, weights, shards=shards)


class FlippedReward(Altered):
    """Learns from rewards of the wrong sign."""

    def alter(self, rows):
        return rows._replace(reward=-rows.reward)


class ActionsMixedUp(Altered):
    """Updates the value of another row's action."""

    def alter(self, rows):
        return rows._replace(action=jnp.roll(rows.action, 1, axis=0))


class TerminationIgnored(Altered):
    """Bootstraps past the end of the task."""

    def alter(self, rows):
        return rows._replace(discount=jnp.ones_like(rows.discount))


class Blind(nn.Module):
    """A network that does not look at its observation."""

    @nn.compact
    def __call__(self, observation):
        return networks.QNetwork(2, (32,))(observation * 0)


nightly = partial(pytest.param, marks=pytest.mark.nightly)


@pytest.mark.parametrize(
    ("factory", "first", "blame"),
    [
        (lambda specs: make(specs, gamma=0.0), "DelayedReward", "gamma"),
        (lambda specs: make(specs, cls=FlippedReward), "ConstantReward", "sign"),
        (lambda specs: make(specs, cls=TerminationIgnored), "ConstantReward", "discount of 0"),
        nightly(
            lambda specs: make(specs, cls=ActionsMixedUp),
            "ActionReward",
            "action is not learnt from",
        ),
        nightly(
            lambda specs: make(specs, network=Blind()),
            "ObservationReward",
            "ignores the observation",
        ),
    ],
    ids=["gamma ignored", "reward's sign", "termination ignored", "actions mixed up", "blind"],
)
def test_a_broken_agent_is_blamed_for_what_is_broken(factory, first, blame):
    diagnosis = diagnose(factory, stop_at_failure=True)
    assert failures(diagnosis) == [first]
    assert [result.name for result in diagnosis.results] == PROBES[: PROBES.index(first) + 1]
    assert blame in diagnosis.blame
    assert f"Broken: {diagnosis.blame}." in str(diagnosis) and "FAILS" in str(diagnosis)


def test_the_report_reads_well():
    result = ProbeResult(
        "ActionReward", False, np.array([0.5]), np.array([1.0]), np.array([0]), np.array([1])
    )
    without_values = ProbeResult(
        "DelayedReward", True, None, np.array([0.9, 1.0]), np.array([0, 1]), None
    )
    lines = str(Diagnosis((without_values, result), "the policy")).splitlines()
    assert lines == [
        "DelayedReward           passes  ",
        "ActionReward            FAILS   values 0.5 (right: 1); actions 0 (right: 1)",
        "Broken: the policy.",
    ]


class FlippedWithoutValue(FlippedReward):
    """An agent whose `value` is not there to be asked."""

    @property
    def value(self):
        raise AttributeError("value")


def test_an_agent_without_values_is_judged_by_its_actions():
    diagnosis = diagnose(lambda specs: make(specs, cls=FlippedWithoutValue), stop_at_failure=True)
    assert all(result.values is None for result in diagnosis.results)
    assert failures(diagnosis) == ["ActionReward"]
