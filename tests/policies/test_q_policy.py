"""Boltzmann policies over action values, and the masks that hold in all policies."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_agents.envs.specs import DiscreteSpec
from jax_agents.envs.types import StepType, TimeStep
from jax_agents.policies import EpsilonGreedyPolicy, GreedyPolicy, QPolicy, RandomPolicy


class Identity(nn.Module):
    """The observation is the action values."""

    def __call__(self, observation):
        return observation


class Affine(nn.Module):
    """The network of TF-Agents' Boltzmann test."""

    def __call__(self, observation):
        return observation @ jnp.array([[1.0, 1.5], [1.0, 1.5]]) + 1.0


PARAMS = {"params": {"q": {}}, "step": jnp.int32(0)}


def at(observation, batch=()):
    """A time step whose observation is tiled to a batch."""
    tile = lambda x: jnp.broadcast_to(jnp.asarray(x), batch + np.shape(x))
    return TimeStep(
        jnp.full(batch, StepType.MID),
        jnp.zeros(batch),
        jnp.ones(batch),
        jax.tree.map(tile, observation),
    )


def test_boltzmann_logits_are_values_over_temperature():
    """Case 11.1."""
    policy = QPolicy(Affine(), temperature=0.5)
    distribution = policy.distribution(PARAMS, at(np.array([1.0, 2.0], np.float32))).action
    np.testing.assert_allclose(distribution.logits, [8, 11])
    assert (
        int(distribution.mode())
        == int(GreedyPolicy(policy).action(PARAMS, at(np.float32([1, 2]))).action)
        == 1
    )


def test_boltzmann_draws_in_proportion_and_takes_a_schedule():
    policy = QPolicy(Identity(), temperature=optax.linear_schedule(1.0, 0.1, 10))
    time_step = at(np.log(np.array([1, 2, 5], np.float32)), (8000,))
    actions = policy.action(PARAMS, time_step, (), jax.random.key(0)).action
    np.testing.assert_allclose(np.bincount(actions) / 8000, [0.125, 0.25, 0.625], atol=0.02)
    later = policy.distribution(PARAMS | {"step": jnp.int32(10)}, at(np.float32([0, 1]))).action
    np.testing.assert_allclose(later.logits, [0, 10], rtol=1e-6)


def test_masks_hold_in_every_policy():
    """Case 11.3: equal values, the middle action forbidden."""
    q = QPolicy(Identity())
    observation = {
        "observation": np.float32([100, 100, 100]),
        "action_mask": np.array([True, False, True]),
    }
    np.testing.assert_allclose(q.distribution(PARAMS, at(observation)).action.probs, [0.5, 0, 0.5])
    best_forbidden = observation | {"observation": np.float32([0, 5, 1])}
    for policy in (q, EpsilonGreedyPolicy(q, 0.5), GreedyPolicy(q), RandomPolicy(DiscreteSpec(3))):
        for seen in (observation, best_forbidden):
            actions = policy.action(PARAMS, at(seen, (200,)), (), jax.random.key(2)).action
            assert not np.any(actions == 1), policy
    np.testing.assert_array_equal(
        GreedyPolicy(q).action(PARAMS, at(best_forbidden, (2,))).action, [2, 2]
    )
    probs = EpsilonGreedyPolicy(q, 0.5).distribution(PARAMS, at(best_forbidden)).action.probs
    np.testing.assert_allclose(probs, [0.25, 0.0, 0.75], atol=1e-6)


def test_masks_of_integers_serve_as_well():
    observation = {
        "observation": np.float32([0, 5, 1]),
        "action_mask": np.array([1, 0, 1], np.int8),
    }
    q = QPolicy(Identity())
    for policy in (GreedyPolicy(q), EpsilonGreedyPolicy(q, 0.0)):
        assert int(policy.action(PARAMS, at(observation), (), jax.random.key(0)).action) == 2


@pytest.mark.parametrize("batch", [(), (4,), (2, 3)])
def test_any_leading_axes(batch):
    q = QPolicy(Identity())
    time_step = at(np.float32([1, 2, 0]), batch)
    for policy in (q, GreedyPolicy(q), EpsilonGreedyPolicy(q, 0.1)):
        assert policy.initial_state(batch) == ()
        step = policy.action(PARAMS, time_step, policy.initial_state(batch), jax.random.key(0))
        assert step.action.shape == batch and step.action.dtype == jnp.int32
        distribution = policy.distribution(PARAMS, time_step).action
        assert distribution.log_prob(step.action).shape == batch
        assert distribution.mode().shape == batch


def test_the_greedy_policy_needs_no_key_and_wraps_any_policy():
    explore = EpsilonGreedyPolicy(QPolicy(Identity()), 0.9)
    assert int(GreedyPolicy(explore).action(PARAMS, at(np.float32([0, 2, 1]))).action) == 1
    distribution = GreedyPolicy(explore).distribution(PARAMS, at(np.float32([0, 2, 1]))).action
    assert float(distribution.log_prob(1)) == 0.0
    assert float(distribution.log_prob(0)) == -np.inf
