"""Losses of off-policy actor-critics: hand-worked numbers under jit and vmap, and gradients."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_agents.agents import losses


def batched(function):
    """A single-transition function under vmap and jit."""
    return jax.jit(jax.vmap(function))


def test_ddpg(transitions):
    t = transitions
    critic = lambda o, a: o @ jnp.array([1.0, 3]) + 2 * a + 4
    deterministic = lambda o: o @ jnp.array([2.0, 1]) + 5
    target = losses.td_target(
        t.reward, t.discount, critic(t.next_observation, deterministic(t.next_observation))
    )
    np.testing.assert_allclose(target, [72.1, 100.1], rtol=1e-6)
    error = target - critic(t.observation, jnp.array([5.0, 6]))
    np.testing.assert_allclose(jnp.mean(losses.huber(error)), 59.6, rtol=1e-6)
    np.testing.assert_allclose(
        jnp.mean(losses.dpg(critic(t.observation, deterministic(t.observation)))), -39.0
    )


def test_td3_targets():
    noise = jnp.array([-3.0, 0.1, 3.0])
    np.testing.assert_allclose(
        losses.smoothed_action(jnp.array([0.0, 0.5, 0.8]), noise, 0.5, -1.0, 1.0), [-0.5, 0.6, 1.0]
    )
    q = jnp.array([[5.0, 1], [4, 2]])  # two transitions, two critics
    np.testing.assert_allclose(
        batched(losses.clipped_double_q_target)(jnp.ones(2), jnp.full(2, 0.5), q), [1.5, 2]
    )


def test_sac(transitions):
    t = transitions
    q = lambda o: jnp.stack([o[:, 1] + 1.0] * 2, axis=1)  # two equal critics of the action 1
    log_prob, alpha = jnp.full(2, 10.0), jnp.ones(2)
    value = batched(losses.soft_value)(q(t.next_observation), log_prob, alpha)
    np.testing.assert_allclose(value, [-3, -1])
    target = losses.td_target(t.reward, t.discount, value)
    np.testing.assert_allclose(target, [7.3, 19.1], rtol=1e-6)
    predictions = t.observation[:, 1] + jnp.array([5.0, 6])
    np.testing.assert_allclose(2 * jnp.mean(losses.squared(target - predictions)), 82.9, rtol=1e-6)
    np.testing.assert_allclose(
        jnp.mean(batched(losses.sac_actor)(q(t.observation), log_prob, alpha)), 6.0
    )
    assert losses.soft_value(jnp.array([4.0, 3]), 2.0, 0.5) == 2.0  # the smaller, less .5 x 2


def test_sac_temperature():
    # log pi = 10, target entropy -2: entropy -10 is too low, so descent must raise alpha: -e^0 x
    # (10 - 2).
    value, gradient = jax.value_and_grad(losses.sac_temperature)(0.0, 10.0, -2.0)
    assert (value, gradient) == (-8, -8)
    assert jax.grad(losses.sac_temperature)(0.0, 1.0, -2.0) == 1  # entropy -1 is too high
    assert jax.grad(losses.sac_temperature, argnums=1)(0.0, 10.0, -2.0) == 0
    assert jax.grad(losses.sac_actor, argnums=2)(jnp.ones(2), 10.0, 1.0) == 0


def test_discrete_sac():
    q = jnp.array([[1.0, 4], [3, 2]])  # the smaller: (1, 2)
    log_probs = jnp.log(jnp.array([0.25, 0.75]))
    entropy = 0.25 * math.log(4) + 0.75 * math.log(4 / 3)
    value = jax.jit(losses.discrete_soft_value)(q, log_probs, 2.0)
    np.testing.assert_allclose(value, 0.25 * 1 + 0.75 * 2 + 2 * entropy, rtol=1e-6)
    np.testing.assert_allclose(losses.discrete_sac_actor(q, log_probs, 2.0), -value, rtol=1e-6)
    assert not jax.grad(losses.discrete_sac_actor)(q, log_probs, 2.0).any()


@pytest.mark.parametrize("log_zero", [-1e30, -math.inf])
def test_discrete_sac_with_a_forbidden_action(log_zero):
    q = jnp.array([[1.0, 9]])
    value, gradient = jax.value_and_grad(losses.discrete_soft_value, argnums=1)(
        q, jnp.array([0.0, log_zero]), 1.0
    )
    assert value == 1.0  # entropy 0, and nothing of the 9
    # p (q - log p) has the slope p (q - log p - 1) in log p: 0 for the allowed action as q is 1,
    # and 0 for the other.
    np.testing.assert_array_equal(gradient, [0, 0])


def test_discrete_sac_is_least_at_the_soft_greedy_policy():
    q, alpha = jnp.array([[1.0, 2, 0.5]]), 0.7
    gradient = jax.grad(
        lambda logits: losses.discrete_sac_actor(q, jax.nn.log_softmax(logits), alpha)
    )(q[0] / alpha)
    np.testing.assert_allclose(gradient, jnp.zeros(3), atol=1e-6)
