"""Noisy layers: their mean, the variance and rank of their noise, and who draws it."""

import jax
import jax.numpy as jnp
import numpy as np

from jax_agents.networks import NoisyDense, QNetwork, Sequential, apply_network
from jax_agents.networks.noisy import draws_noise

LAYER = NoisyDense(3, sigma=0.6)
X = jnp.array([[1.0, -2.0, 0.5, 3.0], [0.0, 1.0, 1.0, -1.0]])
VARIABLES = LAYER.init(jax.random.key(0), X)


def test_without_a_key_it_is_the_dense_layer_of_its_means():
    params = VARIABLES["params"]
    np.testing.assert_allclose(
        LAYER.apply(VARIABLES, X), X @ params["kernel"] + params["bias"], rtol=1e-6
    )
    assert float(jnp.abs(params["kernel"]).max()) <= 1 / np.sqrt(4)
    np.testing.assert_allclose(params["kernel_sigma"], 0.6 / np.sqrt(4))
    np.testing.assert_allclose(params["bias_sigma"], 0.6 / np.sqrt(4))


def test_the_noise_has_the_papers_mean_and_variance():
    """The variance of y is sum x_i^2 sigma^2 m^2 + sigma^2 m.

    In it, m = E f^2 = E|e| = sqrt(2 / pi) for f(e) = sign(e) sqrt|e|.
    """
    keys = jax.random.split(jax.random.key(1), 40_000)
    outputs = jax.jit(jax.vmap(lambda key: apply_network(LAYER, VARIABLES, X, key)))(keys)
    m, sigma = np.sqrt(2 / np.pi), 0.3
    variance = (np.square(X).sum(1) * m**2 + m) * sigma**2
    np.testing.assert_allclose(outputs.var(0), np.repeat(variance[:, None], 3, 1), rtol=0.05)
    np.testing.assert_allclose(outputs.mean(0), LAYER.apply(VARIABLES, X), atol=0.03)


def test_the_noise_of_the_weights_has_rank_one_and_is_shared_by_a_call():
    key = jax.random.key(2)
    noise = apply_network(LAYER, VARIABLES, jnp.eye(4), key) - LAYER.apply(VARIABLES, jnp.eye(4))
    bias = apply_network(LAYER, VARIABLES, jnp.zeros((1, 4)), key) - VARIABLES["params"]["bias"]
    assert np.linalg.matrix_rank(np.asarray(noise - bias), tol=1e-5) == 1
    both = apply_network(LAYER, VARIABLES, jnp.stack([X[0], X[0]]), key)
    np.testing.assert_array_equal(both[0], both[1])


def test_one_key_for_each_example_draws_for_each():
    keys = jax.random.split(jax.random.key(3), (2, 3))
    inputs = jnp.broadcast_to(X[0], (2, 3, 4))
    outputs = apply_network(LAYER, VARIABLES, inputs, keys)
    assert len(np.unique(outputs[..., 0])) == 6
    np.testing.assert_allclose(
        outputs[1, 2], apply_network(LAYER, VARIABLES, X[0], keys[1, 2]), rtol=1e-5
    )


def test_gradients_reach_means_and_sigmas():
    grads = jax.grad(lambda v: jnp.sum(apply_network(LAYER, v, X, jax.random.key(4)) ** 2))(
        VARIABLES
    )
    assert all(float(jnp.abs(g).min()) > 0 for g in jax.tree.leaves(grads))


def test_noise_is_found_wherever_it_is():
    assert draws_noise(LAYER, X)
    assert draws_noise(Sequential([jnp.tanh, NoisyDense(2)]), X)
    assert draws_noise(QNetwork(2, noisy_sigma=0.5), X)
    assert not draws_noise(QNetwork(2), X)

    class NoFlax:
        init = staticmethod(lambda key, x: {})
        apply = staticmethod(lambda variables, x: x)

    assert not draws_noise(NoFlax(), X)
