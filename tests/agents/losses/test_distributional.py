"""Losses of distributions of the return: hand-worked numbers, gradients, and rlax."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_agents.agents import losses

ATOMS = jnp.linspace(-10.0, 10.0, 51)


def c51_logits(observation):
    kernel = jnp.stack([jnp.concatenate([jnp.arange(51.0), jnp.ones(51)]), jnp.ones(102)])
    return (observation @ kernel + 1).reshape(-1, 2, 51)


def test_categorical_l2_project():
    supports = jnp.array([[0.0, 2, 4, 6, 8], [1, 3, 4, 5, 6]])
    weights = jnp.array([[0.1, 0.6, 0.1, 0.1, 0.1], [0.1, 0.2, 0.5, 0.1, 0.1]])
    project = jax.jit(jax.vmap(losses.categorical_l2_project, in_axes=(0, 0, None)))
    expected = [[0.8, 0, 0.1, 0, 0.1], [0.8, 0.1, 0.1, 0, 0]]
    np.testing.assert_allclose(
        project(supports, weights, jnp.arange(4.0, 9.0)), expected, atol=1e-6
    )
    # Uneven: 2 lies a quarter of the way from 1 to 5, so 3/4 of its mass goes to 1; and 9 is as
    # good as 5.
    uneven = losses.categorical_l2_project(
        jnp.array([2.0, 9.0]), jnp.array([0.8, 0.2]), jnp.array([0.0, 1, 5])
    )
    np.testing.assert_allclose(uneven, [0, 0.6, 0.4], atol=1e-6)


def test_projection_keeps_mass_and_mean():
    key = jax.random.key(1)
    z_p = jax.random.uniform(key, (7,), minval=-3.0, maxval=3.0)
    probs = jax.nn.softmax(jax.random.normal(key, (7,)))
    z_q = jnp.array([-3.0, -1, -0.5, 0, 2, 3])
    out = losses.categorical_l2_project(z_p, probs, z_q)
    np.testing.assert_allclose([out.sum(), out @ z_q], [1, probs @ z_p], rtol=1e-5)


def test_categorical_q_learning(transitions):
    # The target's mass lies at and above 10: all of it goes to the last atom. -log softmax of it:
    # for action 0, whose logits rise by 1 per atom for the first observation, -log(1 - 1/e) to
    # 1e-16; for action 1, equal logits, log 51.
    t = transitions
    args = c51_logits(t.observation), t.action, t.reward, t.discount, c51_logits(t.next_observation)
    loss = jax.jit(jax.vmap(losses.categorical_q_learning, in_axes=(None, 0, 0, 0, 0, None, 0)))(
        ATOMS, *args[:-1], ATOMS, args[-1]
    )
    np.testing.assert_allclose(loss, [-math.log(1 - 1 / math.e), math.log(51)], rtol=1e-4)
    np.testing.assert_allclose(loss, [0.458675145, 3.931825633], rtol=1e-4)
    np.testing.assert_allclose(jnp.mean(loss), 2.19525, atol=1e-4)


def test_categorical_double_q_learning_and_masks():
    atoms = jnp.array([0.0, 1])
    logits_t = jnp.array([[-50.0, 50], [50, -50]])  # action 0 returns 1, action 1 returns 0
    logits_tm1 = jnp.log(jnp.array([[0.25, 0.75], [0.5, 0.5]]))
    args = atoms, logits_tm1, 0, 0.0, 1.0, atoms, logits_t
    one, zero = -math.log(0.75), -math.log(0.25)
    np.testing.assert_allclose(losses.categorical_q_learning(*args), one, rtol=1e-6)
    np.testing.assert_allclose(
        losses.categorical_q_learning(*args, jnp.array([False, True])), zero, rtol=1e-6
    )
    np.testing.assert_allclose(
        losses.categorical_double_q_learning(*args, jnp.array([1.0, 2])), zero, rtol=1e-6
    )


def test_quantile_q_learning():
    # Estimates (0, 4) at quantiles (.25, .75).
    # Targets 1 + .5 x (2, 6) = (2, 4) from action 1, whose mean is greater.
    # Errors: 2, 4 for the first, -2, 0 for the second. Huber(1): 1.5, 3.5; 1.5, 0.
    # |tau - [error < 0]|: .25; .25, .75.
    # (.25 x 1.5 + .25 x 3.5) / 2 + .25 x 1.5 / 2 = .625 + .1875.
    q = jnp.array([[0.0, 4], [9, 9]])
    tau = jnp.array([0.25, 0.75])
    q_t = jnp.array([[2.0, 2], [2, 6]])
    args = q, tau, 0, 1.0, 0.5, q_t
    np.testing.assert_allclose(jax.jit(losses.quantile_q_learning)(*args), 0.8125)
    # kappa 2: Huber(2) / 2: 1, 3; 1, 0 -> .25 x 4 / 2 + .25 / 2.
    np.testing.assert_allclose(losses.quantile_q_learning(*args, huber_param=2.0), 0.625)
    # kappa 0: 2, 4; 2, 0 -> .25 x 6 / 2 + .5 / 2.
    np.testing.assert_allclose(losses.quantile_q_learning(*args, huber_param=0.0), 1.0)
    # Action 0 by mask or by selector: targets (2, 2): errors 2, 2; -2, -2 -> .25 x 1.5 + .25 x 1.5.
    np.testing.assert_allclose(
        losses.quantile_q_learning(*args, mask_t=jnp.array([True, False])), 0.75
    )
    np.testing.assert_allclose(losses.quantile_double_q_learning(*args, jnp.array([1.0, 0])), 0.75)


def test_quantile_regression_finds_quantiles():
    tau, targets = jnp.array([0.1, 0.5, 0.9]), jnp.arange(101.0)[None]
    estimates = jnp.zeros((1, 3))
    gradient = jax.jit(
        jax.grad(
            lambda q: losses.quantile_q_learning(q, tau, 0, 0.0, 1.0, targets, huber_param=0.0)
        )
    )
    for _ in range(600):
        estimates -= 1.0 * gradient(estimates)
    np.testing.assert_allclose(estimates[0], [10, 50, 90], atol=1.5)


def test_targets_carry_no_gradient():
    atoms, logits = jnp.linspace(-1, 1, 5), jax.random.normal(jax.random.key(0), (2, 5))
    through = jax.grad(losses.categorical_q_learning, argnums=(1, 6))(
        atoms, logits, 0, 0.1, 0.9, atoms, logits
    )
    assert jnp.abs(through[0][0]).max() > 0
    assert not through[0][1].any() and not through[1].any()
    through = jax.grad(losses.quantile_q_learning, argnums=(0, 5))(
        logits, jnp.arange(0.1, 1, 0.2), 0, 0.1, 0.9, logits
    )
    assert jnp.abs(through[0][0]).max() > 0
    assert not through[0][1].any() and not through[1].any()


def test_against_rlax():
    rlax = pytest.importorskip("rlax")
    logits, logits_t, dist, dist_t = jax.random.normal(jax.random.key(4), (4, 3, 7))
    selector = jax.random.normal(jax.random.key(5), (3,))
    atoms, tau = jnp.linspace(-2, 2, 7), jnp.arange(1, 14, 2) / 14
    a, r, d = 1, 0.3, 0.9
    close = {"rtol": 1e-5, "atol": 1e-6}
    np.testing.assert_allclose(
        losses.categorical_q_learning(atoms, logits, a, r, d, atoms, logits_t),
        rlax.categorical_q_learning(atoms, logits, a, r, d, atoms, logits_t),
        **close,
    )
    np.testing.assert_allclose(
        losses.categorical_double_q_learning(atoms, logits, a, r, d, atoms, logits_t, selector),
        rlax.categorical_double_q_learning(atoms, logits, a, r, d, atoms, logits_t, selector),
        **close,
    )
    for kappa in (0.0, 1.0):  # rlax does not divide by kappa, and has actions last
        ours = losses.quantile_q_learning(dist, tau, a, r, d, dist_t, huber_param=kappa)
        theirs = rlax.quantile_q_learning(
            dist.T, tau, a, jnp.float32(r), jnp.float32(d), dist_t.T, dist_t.T, kappa
        )
        np.testing.assert_allclose(ours, theirs, **close)
