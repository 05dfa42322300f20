"""Uniform and deterministic distributions, by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from jax_agents.networks.distributions import Deterministic, Uniform

KEY = jax.random.key(0)


def test_uniform():
    d = Uniform(jnp.array([[-1.0, 0], [2, 2]]), jnp.array([[1.0, 4], [3, 4]]))
    np.testing.assert_allclose(
        d.log_prob(jnp.array([[0.0, 1], [2.5, 3]])), [-math.log(8), -math.log(2)], rtol=1e-6
    )
    np.testing.assert_allclose(d.entropy(), [math.log(8), math.log(2)], rtol=1e-6)
    np.testing.assert_array_equal(d.log_prob(jnp.array([[0.0, 5], [1, 3]])), [-np.inf, -np.inf])
    np.testing.assert_array_equal(d.mode(), [[0, 2], [2.5, 3]])
    draws = jax.vmap(d.sample)(jax.random.split(KEY, 2000))
    assert (draws >= d.low).all() and (draws < d.high).all()
    np.testing.assert_allclose(draws.mean(0), d.mode(), atol=0.1)


def test_deterministic():
    d = Deterministic(jnp.array([2, 5]))
    np.testing.assert_array_equal(d.sample(), [2, 5])
    np.testing.assert_array_equal(d.log_prob(jnp.array([2, 4])), [0, -np.inf])
    np.testing.assert_array_equal(d.entropy(), [0, 0])
    np.testing.assert_array_equal(d.kl_divergence(Deterministic(jnp.array([2, 4]))), [0, np.inf])
    vector = Deterministic(jnp.array([[0.5, 1], [2, 3]]), event_ndim=1)
    np.testing.assert_array_equal(vector.log_prob(jnp.array([[0.5, 1], [2, 0]])), [0, -np.inf])
    assert vector.entropy().shape == (2,)
