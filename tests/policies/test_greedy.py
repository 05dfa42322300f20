"""Greedy and epsilon-greedy policies over action values."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_agents.envs.specs import BoundedSpec
from jax_agents.envs.types import PolicyStep, StepType, TimeStep
from jax_agents.networks.distributions import Normal
from jax_agents.policies import (
    EpsilonGreedyPolicy,
    GreedyPolicy,
    PolicyWrapper,
    QPolicy,
    VersionedPolicy,
)


class Identity(nn.Module):
    """The observation is the action values."""

    def __call__(self, observation):
        return observation


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


@pytest.mark.parametrize("epsilon", [0.0, 0.2, 0.7, 1.0])
def test_epsilon_greedy_counts_and_marginal_probabilities(epsilon):
    """Case 11.2."""
    policy = EpsilonGreedyPolicy(QPolicy(Identity()), epsilon)
    time_step = at(np.float32([0.0, 3.0, 1.0]), (1000,))
    step = policy.action(PARAMS, time_step, (), jax.random.key(1))
    assert step.action.dtype == jnp.int32 and step.action.shape == (1000,)
    expected = np.full(3, epsilon / 3) + np.array([0, 1 - epsilon, 0])
    np.testing.assert_allclose(np.bincount(step.action, minlength=3), 1000 * expected, atol=100)
    distribution = policy.distribution(PARAMS, at(np.float32([0.0, 3.0, 1.0]))).action
    np.testing.assert_allclose(distribution.probs, expected, atol=1e-6)
    np.testing.assert_allclose(
        np.exp(distribution.log_prob(1)), 1 - epsilon + epsilon / 3, rtol=1e-5
    )


def test_epsilon_follows_a_schedule_and_a_leaf_overrides_it():
    policy = EpsilonGreedyPolicy(QPolicy(Identity()), optax.linear_schedule(1.0, 0.2, 8))
    probability = jax.jit(
        lambda params: policy.distribution(params, at(np.float32([1, 0]))).action.probs[1]
    )
    for step, expected in ((0, 0.5), (4, 0.3), (8, 0.1), (100, 0.1)):
        np.testing.assert_allclose(
            probability(PARAMS | {"step": jnp.int32(step)}), expected, rtol=1e-5
        )
    np.testing.assert_allclose(probability(PARAMS | {"epsilon": jnp.float32(0.4)}), 0.2, rtol=1e-5)
    ladder = at(np.float32([1, 0]), (3,))  # one for each environment, as Ape-X has
    probs = policy.distribution(
        PARAMS | {"epsilon": jnp.array([0.0, 0.4, 1.0])}, ladder
    ).action.probs
    np.testing.assert_allclose(probs[:, 1], [0.0, 0.2, 0.5], atol=1e-6)


class Wide:
    """Normal actions with mean 3, of a policy with bounds of +-1."""

    spec = BoundedSpec((1,), np.float32, -1.0, 1.0)

    def initial_state(self, batch_shape=()):
        return ()

    def distribution(self, params, time_step, state=()):
        return PolicyStep(Normal(jnp.array([3.0]), jnp.array([1.0])), state)


def test_the_greedy_action_is_the_mode_within_the_bounds_of_the_policy():
    greedy = GreedyPolicy(Wide())
    assert greedy.action(PARAMS, at(np.float32([0.0]))).action == 1.0
    assert greedy.distribution(PARAMS, at(np.float32([0.0]))).action.mode() == 1.0


def test_wrappers_do_not_hide_the_bounds_that_modes_are_clipped_to():
    """Each wrapper keeps its policy in the field `policy`; two of them are between here."""

    class Beyond:
        spec = BoundedSpec((), np.float32, -1.0, 1.0)

        def initial_state(self, batch_shape=()):
            return ()

        def distribution(self, params, time_step, state=()):
            return PolicyStep(Normal(jnp.float32(3.0), jnp.float32(1.0)))

    policy = GreedyPolicy(VersionedPolicy(PolicyWrapper(Beyond())))
    params = {"step": jnp.int32(0), "version": jnp.int32(0)}
    assert policy.action(params, at(0.0)).action == 1.0
