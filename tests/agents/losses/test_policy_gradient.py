"""Losses of on-policy agents: hand-worked numbers under jit and vmap, gradients, and rlax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_agents.agents import losses
from jax_agents.networks.distributions import Normal


def batched(function):
    """A single-transition function under vmap and jit."""
    return jax.jit(jax.vmap(function))


def actor(observation):
    """A normal whose mean and standard deviation are both outputs of one layer."""
    out = observation @ jnp.array([[2.0, 1], [1, 1]]) + 5
    return Normal(out[..., :1], out[..., 1:])


def reinforce(observation, actions, returns, mask, episodes):
    loss = batched(losses.policy_gradient)(actor(observation).log_prob(actions[:, None]), returns)
    return jnp.sum(loss * mask) / episodes


@pytest.mark.parametrize(
    "observation, actions, returns, mask, episodes, expected",
    [
        ([[1, 2], [3, 4]], [0, 1], [1.9, 1.0], [1, 1], 1, 10.983667373657227),
        ([[1, 2]] * 4, [0, 1, 2, 3], [1.9, 1.9, 1, 1], [1, 0, 1, 0], 2, 5.140229225158691),
        ([[1, 2]] * 2, [0, 1], [3, 0], [1, 0], 1, 10.8935775757),
    ],
)
def test_policy_gradient(observation, actions, returns, mask, episodes, expected):
    args = (jnp.array(x, jnp.float32) for x in (observation, actions, returns, mask))
    np.testing.assert_allclose(reinforce(*args, episodes), expected, rtol=1e-6)


def test_entropy_regularisation(transitions):
    np.testing.assert_allclose(
        -0.1 * jnp.mean(actor(transitions.observation).entropy()), -0.370111, rtol=1e-5
    )


def test_clipped_surrogate(transitions):
    log_prob = actor(transitions.observation).log_prob(jnp.array([[0.0], [1]]))
    ratio = jnp.exp(log_prob - jnp.array([0.9, 0.3]))
    np.testing.assert_allclose(ratio, [0.010767827, 0.012470359], rtol=1e-4)
    loss = batched(lambda r, a: losses.clipped_surrogate(r, a, 10.0))(ratio, jnp.array([1.9, 1.0]))
    np.testing.assert_allclose(jnp.mean(loss), -0.0164646133, rtol=1e-4)


@pytest.mark.parametrize(
    "ratio, advantage, expected, slope",
    [
        (1.5, 2.0, -2.4, 0.0),  # a gain held at 1.2 x 2
        (0.5, 2.0, -1.0, -2.0),  # a loss is never held
        (0.5, -2.0, 1.6, 0.0),  # a gain held at .8 x -2
        (1.5, -2.0, 3.0, 2.0),
        (1.1, 2.0, -2.2, -2.0),
    ],
)
def test_clipped_surrogate_where_the_clip_binds(ratio, advantage, expected, slope):
    value, gradient = jax.value_and_grad(losses.clipped_surrogate)(ratio, advantage, 0.2)
    np.testing.assert_allclose([value, gradient], [expected, slope], rtol=1e-6)


def test_kl_penalty():
    assert losses.kl_penalised_surrogate(1.5, jnp.float32(2.0), 0.5, 4.0) == -1.0  # -3 + 4 x .5
    betas = jax.vmap(losses.adapt_kl_beta, in_axes=(None, 0, None))(
        jnp.float32(1.0), jnp.array([0.006, 0.01, 0.016]), 0.01
    )
    np.testing.assert_array_equal(betas, [0.5, 1, 2])


def test_clipped_value():
    # v 3, old 1, epsilon .5 -> 1.5. Return 0: max(9, 2.25). Return 4: max(1, 6.25), and no
    # gradient.
    assert losses.clipped_value(3.0, 1.0, jnp.float32(0.0), 0.5) == 9
    value, gradient = jax.value_and_grad(losses.clipped_value)(3.0, 1.0, jnp.float32(4.0), 0.5)
    assert (value, gradient) == (6.25, 0)


def test_against_rlax():
    rlax = pytest.importorskip("rlax")
    log_ratios, advantages = jax.random.normal(jax.random.key(4), (2, 9))
    ratios = jnp.exp(log_ratios)
    np.testing.assert_allclose(
        jnp.mean(losses.clipped_surrogate(ratios, advantages, 0.2)),
        rlax.clipped_surrogate_pg_loss(ratios, advantages, 0.2),
        rtol=1e-5,
        atol=1e-6,
    )
