"""Elementwise losses and targets by hand-worked numbers and gradients."""

import jax
import jax.numpy as jnp
import numpy as np

from jax_agents.agents import losses


def test_huber_and_squared():
    x = jnp.array([-3.0, -1, -0.5, 0, 2])
    # 1 x (3 - .5); .5 x .25; 1 x (2 - .5)
    np.testing.assert_allclose(losses.huber(x), [2.5, 0.5, 0.125, 0, 1.5])
    np.testing.assert_allclose(losses.huber(x, 2.0), [4, 0.5, 0.125, 0, 2])  # 2 x (3 - 1); .5 x 4
    np.testing.assert_allclose(jax.vmap(jax.grad(losses.huber))(x), [-1, -1, -0.5, 0, 1])
    np.testing.assert_allclose(losses.squared(x), [9, 1, 0.25, 0, 4])


def test_squared_error_of_values(transitions):
    values = transitions.observation @ jnp.array([2.0, 1]) + 5
    errors = losses.squared(values - jnp.array([1.9, 1.0]))
    np.testing.assert_allclose(jnp.mean(errors), 123.205, rtol=1e-6)
    np.testing.assert_allclose(0.5 * jnp.sum(errors), 123.205, rtol=1e-6)


def test_td_target(transitions):
    values = jnp.array([10.0, 20])
    target = losses.td_target(transitions.reward, transitions.discount, values)
    np.testing.assert_allclose(target, [19, 38])


def test_td_target_carries_no_gradient():
    gradients = jax.grad(losses.td_target, argnums=(0, 1, 2))(1.0, 0.9, 10.0)
    np.testing.assert_array_equal(gradients, [0, 0, 0])
