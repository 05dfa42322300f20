"""Losses of values: hand-worked numbers under jit and vmap, gradients, and rlax."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_agents.agents import losses
from jax_agents.agents.reductions import to_transition


def batched(function):
    """A single-transition function under vmap and jit."""
    return jax.jit(jax.vmap(function))


def q_network(observation):
    return observation @ jnp.array([[2.0, 1], [1, 1]]) + 1


def test_huber_and_squared():
    x = jnp.array([-3.0, -1, -0.5, 0, 2])
    np.testing.assert_allclose(
        losses.huber(x), [2.5, 0.5, 0.125, 0, 1.5]
    )  # 1 x (3 - .5); .5 x .25; 1 x (2 - .5)
    np.testing.assert_allclose(losses.huber(x, 2.0), [4, 0.5, 0.125, 0, 2])  # 2 x (3 - 1); .5 x 4
    np.testing.assert_allclose(jax.vmap(jax.grad(losses.huber))(x), [-1, -1, -0.5, 0, 1])
    np.testing.assert_allclose(losses.squared(x), [9, 1, 0.25, 0, 4])


def test_index():
    q = jnp.array([[1.0, 2, 3], [4, 5, 6]])
    np.testing.assert_array_equal(batched(losses.index)(q, jnp.array([2, 1])), [3, 5])
    np.testing.assert_array_equal(losses.index(q, 1), [4, 5, 6])
    np.testing.assert_array_equal(
        losses.index(q.at[0].set(-jnp.inf), 1), [4, 5, 6]
    )  # nothing leaks from other entries


def test_greedy():
    q = jnp.array([1.0, 3, 2])
    assert losses.greedy(q) == 1
    assert losses.greedy(q, jnp.array([True, False, True])) == 2
    assert losses.greedy(q, jnp.array([1, 0, 1], jnp.int8)) == 2  # gymnasium's masks
    assert losses.greedy(q, jnp.zeros(3, bool)) == 1  # what forbids everything forbids nothing


def test_td_target(transitions):
    np.testing.assert_allclose(
        losses.td_target(transitions.reward, transitions.discount, jnp.array([10.0, 20])), [19, 38]
    )


def td_errors(t):
    return batched(losses.q_learning)(
        q_network(t.observation), t.action, t.reward, t.discount, q_network(t.next_observation)
    )


def test_q_learning(transitions):
    # q(o, a) = (5, 8); max_a q(o') = (17, 23); targets (25.3, 40.7).
    errors = td_errors(transitions)
    np.testing.assert_allclose(errors, [20.3, 32.7], rtol=1e-6)
    np.testing.assert_allclose(jnp.mean(losses.huber(errors)), 26.0, rtol=1e-6)
    np.testing.assert_allclose(jnp.mean(losses.squared(errors)), 740.69, rtol=1e-6)
    # Another best action: q(o') = (2, 2) by action 1; errors (6.8, 13.8).
    errors = td_errors(transitions._replace(next_observation=jnp.array([[-5.0, 6], [-7, 8]])))
    np.testing.assert_allclose(jnp.mean(losses.huber(errors)), 9.8, rtol=1e-6)


def test_q_learning_over_two_steps(frames, make_rows):
    errors = td_errors(jax.jit(to_transition)(make_rows(frames), 1.0))
    # targets 10 + .9 x 10 + .81 x 29 = 42.49 and 20 + .9 x 20 + .81 x 35 = 66.35, less (5, 8), less
    # .5
    np.testing.assert_allclose(jnp.mean(losses.huber(errors)), 47.42, rtol=1e-6)


def test_q_learning_with_masks():
    q_t = jnp.array([[5.0, 1], [5, 1], [5, 1]])
    mask = jnp.array([[True, True], [False, True], [False, False]])
    error = batched(losses.q_learning)(
        jnp.zeros((3, 2)), jnp.zeros(3, int), jnp.zeros(3), jnp.ones(3), q_t, mask
    )
    np.testing.assert_array_equal(error, [5, 1, 5])


def test_double_q_learning():
    args = jnp.array([1.0, 2]), 0, 3.0, 0.5
    value, selector = jnp.array([10.0, 20]), jnp.array([2.0, 1])
    # 3 + .5 x 10 - 1 = 7: the selector prefers action 0, which the values do not (3 + .5 x 20 - 1 =
    # 12).
    assert losses.double_q_learning(*args, value, selector) == 7
    assert losses.double_q_learning(*args, value, selector, jnp.array([False, True])) == 12
    assert losses.q_learning(*args, value) == 12


def test_targets_carry_no_gradient():
    gradient = jax.grad(losses.double_q_learning, argnums=(0, 4, 5))
    online, *targets = gradient(
        jnp.array([1.0, 2]), 1, 0.0, 0.9, jnp.array([3.0, 4]), jnp.array([5.0, 6])
    )
    np.testing.assert_array_equal(online, [0, -1])
    np.testing.assert_array_equal(targets, jnp.zeros((2, 2)))
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
    z_p, probs = (
        jax.random.uniform(key, (7,), minval=-3.0, maxval=3.0),
        jax.nn.softmax(jax.random.normal(key, (7,))),
    )
    z_q = jnp.array([-3.0, -1, -0.5, 0, 2, 3])
    out = losses.categorical_l2_project(z_p, probs, z_q)
    np.testing.assert_allclose([out.sum(), out @ z_q], [1, probs @ z_p], rtol=1e-5)


ATOMS = jnp.linspace(-10.0, 10.0, 51)


def c51_logits(observation):
    kernel = jnp.stack([jnp.concatenate([jnp.arange(51.0), jnp.ones(51)]), jnp.ones(102)])
    return (observation @ kernel + 1).reshape(-1, 2, 51)


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
    # Estimates (0, 4) at quantiles (.25, .75); targets 1 + .5 x (2, 6) = (2, 4) from action 1,
    # whose mean is greater. errors: 2, 4 for the first, -2, 0 for the second. Huber(1): 1.5, 3.5;
    # 1.5, 0. |tau - [error < 0]|: .25; .25, .75. (.25 x 1.5 + .25 x 3.5) / 2 + .25 x 1.5 / 2 = .625
    # + .1875.
    q, tau, q_t = (
        jnp.array([[0.0, 4], [9, 9]]),
        jnp.array([0.25, 0.75]),
        jnp.array([[2.0, 2], [2, 6]]),
    )
    args = q, tau, 0, 1.0, 0.5, q_t
    np.testing.assert_allclose(jax.jit(losses.quantile_q_learning)(*args), 0.8125)
    # kappa 2: Huber(2) / 2: 1, 3; 1, 0 -> .25 x 4 / 2 + .25 / 2.  kappa 0: 2, 4; 2, 0 -> .25 x 6 /
    # 2 + .5 / 2.
    np.testing.assert_allclose(losses.quantile_q_learning(*args, huber_param=2.0), 0.625)
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


def test_against_rlax():
    rlax = pytest.importorskip("rlax")
    keys = iter(jax.random.split(jax.random.key(4), 12))
    normal = lambda *shape: jax.random.normal(next(keys), shape)
    q, q_t, selector, atoms = normal(3), normal(3), normal(3), jnp.linspace(-2, 2, 7)
    logits, logits_t, dist, dist_t = normal(3, 7), normal(3, 7), normal(3, 7), normal(3, 7)
    tau, (a, r, d) = jnp.arange(1, 14, 2) / 14, (1, 0.3, 0.9)
    close = {"rtol": 1e-5, "atol": 1e-6}
    np.testing.assert_allclose(
        losses.q_learning(q, a, r, d, q_t), rlax.q_learning(q, a, r, d, q_t), **close
    )
    np.testing.assert_allclose(
        losses.double_q_learning(q, a, r, d, q_t, selector),
        rlax.double_q_learning(q, a, r, d, q_t, selector),
        **close,
    )
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
    ratios, advantages = jnp.exp(normal(9)), normal(9)
    np.testing.assert_allclose(
        jnp.mean(losses.clipped_surrogate(ratios, advantages, 0.2)),
        rlax.clipped_surrogate_pg_loss(ratios, advantages, 0.2),
        **close,
    )
