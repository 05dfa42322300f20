"""Distributions over finitely many actions: hand-worked numbers, SciPy, masks and frequencies."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jax_agents.networks.distributions import Categorical, MultiCategorical, epsilon_greedy

KEY = jax.random.key(0)
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


def all_finite(tree):
    return all(jnp.isfinite(x).all() for x in jax.tree.leaves(tree))


def test_categorical_by_hand():
    d = Categorical(jnp.log(jnp.array([[1.0, 2, 1], [0.5, 0.5, 4]])))
    np.testing.assert_allclose(d.probs, [[0.25, 0.5, 0.25], [0.1, 0.1, 0.8]], **CLOSE)
    np.testing.assert_allclose(d.log_prob(jnp.array([1, 0])), np.log([0.5, 0.1]), **CLOSE)
    np.testing.assert_array_equal(d.mode(), [1, 2])
    # Any leading axes of actions: two draws for each of two rows.
    np.testing.assert_allclose(
        d.log_prob(jnp.array([[1, 0], [0, 2]])), np.log([[0.5, 0.1], [0.25, 0.8]]), **CLOSE
    )


def test_categorical_entropy_and_divergence_against_scipy():
    p, q = (Categorical(jax.random.normal(key, (4, 5))) for key in jax.random.split(KEY))
    np.testing.assert_allclose(p.entropy(), scipy.stats.entropy(p.probs, axis=-1), **CLOSE)
    np.testing.assert_allclose(
        p.kl_divergence(q), scipy.stats.entropy(p.probs, q.probs, axis=-1), **CLOSE
    )
    np.testing.assert_allclose(p.kl_divergence(p), np.zeros(4), atol=1e-7)


def test_categorical_mask():
    d = Categorical(jnp.full(3, 100.0), jnp.array([True, False, True]))
    np.testing.assert_array_equal(d.probs, [0.5, 0, 0.5])
    np.testing.assert_allclose(d.entropy(), math.log(2), rtol=1e-6)
    draws = jax.vmap(d.sample)(jax.random.split(KEY, 100))
    assert set(draws.tolist()) == {0, 2}
    assert d.log_prob(1) < -1e29 and jnp.exp(d.log_prob(1)) == 0
    assert Categorical(jnp.array([9.0, 1, 2]), jnp.array([False, True, True])).mode() == 2
    assert d.kl_divergence(Categorical(jnp.zeros(3), jnp.array([True, True, False]))) > 1e29
    assert d.kl_divergence(Categorical(jnp.zeros(3))) == pytest.approx(math.log(1.5))


@pytest.mark.parametrize("mask", [[True, False, True], [False, False, False], [False, True, False]])
def test_categorical_masks_keep_gradients_finite(mask):
    mask, logits = jnp.array(mask), jnp.array([1.0, 2, 3])

    def everything(logits):
        d = Categorical(logits, mask)
        return jnp.stack(
            [
                d.entropy(),
                d.log_prob(d.mode()),
                d.kl_divergence(Categorical(logits + 1, mask)),
                d.probs[0],
            ]
        )

    assert all_finite((everything(logits), jax.jacobian(everything)(logits)))
    if not mask.any():  # uniform, whatever the logits
        np.testing.assert_allclose(Categorical(logits, mask).probs, np.full(3, 1 / 3), rtol=1e-6)
        assert not jax.jacobian(everything)(logits).any()
    else:
        np.testing.assert_array_equal(jax.jacobian(everything)(logits)[:, ~mask], 0)


def test_categorical_draws_have_the_right_frequencies():
    d = Categorical(jnp.log(jnp.array([0.2, 0.5, 0.3])) + jnp.zeros((10_000, 1)))
    draws = jax.jit(Categorical.sample)(d, KEY)  # one key draws the whole batch
    assert draws.dtype == jnp.int32
    np.testing.assert_allclose(np.bincount(draws) / 10_000, [0.2, 0.5, 0.3], atol=0.02)


def test_low_precision_logits_are_computed_in_float32():
    logits = jnp.array([1.0, 2, 3], jnp.bfloat16)
    d = Categorical(logits, jnp.array([True, True, False]))
    assert d.log_probs.dtype == jnp.float32
    np.testing.assert_allclose(d.probs, [1 / (1 + math.e), math.e / (1 + math.e), 0], rtol=1e-6)


def test_epsilon_greedy_is_the_marginal_distribution():
    q = jnp.array([[1.0, 3, 2], [1, 3, 2], [1, 3, 2], [1, 3, 2]])
    mask = jnp.array(
        [[True, True, True], [True, False, True], [False, False, True], [False, False, False]]
    )
    d = jax.jit(epsilon_greedy)(q, 0.3, mask)
    # 1 - .3 + .3 / 3 and .3 / 3; then among two, among one, and uniform where nothing is allowed
    np.testing.assert_allclose(
        d.probs, [[0.1, 0.8, 0.1], [0.15, 0, 0.85], [0, 0, 1], [1 / 3] * 3], **CLOSE
    )
    np.testing.assert_array_equal(d.mode()[:3], [1, 2, 2])
    # gymnasium's masks
    np.testing.assert_allclose(
        epsilon_greedy(q, 0.3, mask.astype(jnp.int8)).probs, d.probs, **CLOSE
    )
    np.testing.assert_array_equal(
        d.probs == 0, [[False] * 3, [False, True, False], [True, True, False], [False] * 3]
    )


def test_epsilon_greedy_at_the_ends_and_per_row():
    q = jnp.array([1.0, 3, 2])
    np.testing.assert_array_equal(epsilon_greedy(q, 0.0).probs, [0, 1, 0])
    assert epsilon_greedy(q, 0.0).log_prob(1) == 0
    np.testing.assert_allclose(epsilon_greedy(q, 1.0).probs, np.full(3, 1 / 3), rtol=1e-6)
    rows = epsilon_greedy(jnp.stack([q, q]), jnp.array([0.0, 0.6]))
    np.testing.assert_allclose(rows.probs, [[0, 1, 0], [0.2, 0.6, 0.2]], **CLOSE)


@pytest.mark.parametrize("epsilon", [0.0, 0.2, 0.7, 1.0])
def test_epsilon_greedy_draws(epsilon):
    d = epsilon_greedy(jnp.broadcast_to(jnp.array([5.0, 0, 1]), (1000, 3)), epsilon)
    counts = np.bincount(d.sample(KEY), minlength=3)
    np.testing.assert_allclose(
        counts, epsilon * 1000 / 3 + (1 - epsilon) * np.array([1000, 0, 0]), atol=100
    )
    assert epsilon > 0 or counts[0] == 1000


def test_boltzmann():
    q = jnp.array([[1.0, 2]]) @ jnp.array([[1, 1.5], [1, 1.5]]) + 1  # (4, 5.5)
    d = Categorical(q / 0.5)
    np.testing.assert_allclose(d.logits, [[8, 11]])
    np.testing.assert_allclose(d.probs[0, 1], 1 / (1 + math.exp(-3)), rtol=1e-6)
    assert d.mode() == 1


def test_multi_categorical_is_the_product_of_its_factors():
    logits = jax.random.normal(KEY, (4, 5))
    mask = jnp.array([True, False, True, True, True])
    first, second = Categorical(logits[:, :2], mask[:2]), Categorical(logits[:, 2:])
    d = MultiCategorical(logits, (2, 3), jnp.broadcast_to(mask, (4, 5)))
    action = jnp.array([[0, 2], [0, 1], [0, 0], [0, 2]])
    np.testing.assert_allclose(
        d.log_prob(action), first.log_prob(action[:, 0]) + second.log_prob(action[:, 1]), **CLOSE
    )
    # the first factor has one allowed value
    np.testing.assert_allclose(d.entropy(), second.entropy(), **CLOSE)
    np.testing.assert_array_equal(d.mode(), jnp.stack([jnp.zeros(4, int), second.mode()], axis=-1))
    other = MultiCategorical(jnp.zeros((4, 5)), (2, 3))
    np.testing.assert_allclose(
        d.kl_divergence(other), math.log(2) + math.log(3) - second.entropy(), rtol=1e-4, atol=1e-5
    )
    draws = d.sample(KEY)
    assert draws.shape == (4, 2) and draws.dtype == jnp.int32 and not draws[:, 0].any()


def test_multi_categorical_factors_are_drawn_independently():
    draws = MultiCategorical(jnp.zeros((4000, 4)), (2, 2)).sample(KEY)
    np.testing.assert_allclose(
        np.bincount(draws @ jnp.array([2, 1])) / 4000, np.full(4, 0.25), atol=0.03
    )


def test_multi_categorical_needs_as_many_logits_as_values():
    with pytest.raises(ValueError, match=r"num_values \(2, 3\) need 5 logits, got 4"):
        MultiCategorical(jnp.zeros(4), (2, 3)).mode()
