"""Distributions: hand-worked numbers, SciPy, change of variables, and their use under jit, vmap and scan."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from jax_agents.networks.distributions import (
    Categorical,
    Deterministic,
    MultiCategorical,
    Normal,
    TanhNormal,
    Uniform,
    epsilon_greedy,
)

KEY = jax.random.key(0)
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


def all_finite(tree):
    return all(jnp.isfinite(x).all() for x in jax.tree.leaves(tree))


# --- categorical


def test_categorical_by_hand():
    d = Categorical(jnp.log(jnp.array([[1.0, 2, 1], [0.5, 0.5, 4]])))
    np.testing.assert_allclose(d.probs, [[0.25, 0.5, 0.25], [0.1, 0.1, 0.8]], **CLOSE)
    np.testing.assert_allclose(d.log_prob(jnp.array([1, 0])), np.log([0.5, 0.1]), **CLOSE)
    np.testing.assert_array_equal(d.mode(), [1, 2])
    # Any leading axes of actions: two draws for each of two rows.
    np.testing.assert_allclose(d.log_prob(jnp.array([[1, 0], [0, 2]])), np.log([[0.5, 0.1], [0.25, 0.8]]), **CLOSE)


def test_categorical_entropy_and_divergence_against_scipy():
    p, q = (Categorical(jax.random.normal(key, (4, 5))) for key in jax.random.split(KEY))
    np.testing.assert_allclose(p.entropy(), scipy.stats.entropy(p.probs, axis=-1), **CLOSE)
    np.testing.assert_allclose(p.kl_divergence(q), scipy.stats.entropy(p.probs, q.probs, axis=-1), **CLOSE)
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
        return jnp.stack([d.entropy(), d.log_prob(d.mode()), d.kl_divergence(Categorical(logits + 1, mask)), d.probs[0]])

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


# --- epsilon-greedy and Boltzmann


def test_epsilon_greedy_is_the_marginal_distribution():
    q = jnp.array([[1.0, 3, 2], [1, 3, 2], [1, 3, 2], [1, 3, 2]])
    mask = jnp.array([[True, True, True], [True, False, True], [False, False, True], [False, False, False]])
    d = jax.jit(epsilon_greedy)(q, 0.3, mask)
    # 1 - .3 + .3 / 3 and .3 / 3; then among two, among one, and uniform where nothing is allowed
    np.testing.assert_allclose(d.probs, [[0.1, 0.8, 0.1], [0.15, 0, 0.85], [0, 0, 1], [1 / 3] * 3], **CLOSE)
    np.testing.assert_array_equal(d.mode()[:3], [1, 2, 2])
    np.testing.assert_allclose(epsilon_greedy(q, 0.3, mask.astype(jnp.int8)).probs, d.probs, **CLOSE)  # gymnasium's masks
    np.testing.assert_array_equal(d.probs == 0, [[False] * 3, [False, True, False], [True, True, False], [False] * 3])


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
    np.testing.assert_allclose(counts, epsilon * 1000 / 3 + (1 - epsilon) * np.array([1000, 0, 0]), atol=100)
    assert epsilon > 0 or counts[0] == 1000


def test_boltzmann():
    q = jnp.array([[1.0, 2]]) @ jnp.array([[1, 1.5], [1, 1.5]]) + 1  # (4, 5.5)
    d = Categorical(q / 0.5)
    np.testing.assert_allclose(d.logits, [[8, 11]])
    np.testing.assert_allclose(d.probs[0, 1], 1 / (1 + math.exp(-3)), rtol=1e-6)
    assert d.mode() == 1


# --- multi-categorical


def test_multi_categorical_is_the_product_of_its_factors():
    logits = jax.random.normal(KEY, (4, 5))
    mask = jnp.array([True, False, True, True, True])
    first, second = Categorical(logits[:, :2], mask[:2]), Categorical(logits[:, 2:])
    d = MultiCategorical(logits, (2, 3), jnp.broadcast_to(mask, (4, 5)))
    action = jnp.array([[0, 2], [0, 1], [0, 0], [0, 2]])
    np.testing.assert_allclose(d.log_prob(action), first.log_prob(action[:, 0]) + second.log_prob(action[:, 1]), **CLOSE)
    np.testing.assert_allclose(d.entropy(), second.entropy(), **CLOSE)  # the first factor has one allowed value
    np.testing.assert_array_equal(d.mode(), jnp.stack([jnp.zeros(4, int), second.mode()], axis=-1))
    other = MultiCategorical(jnp.zeros((4, 5)), (2, 3))
    np.testing.assert_allclose(d.kl_divergence(other), math.log(2) + math.log(3) - second.entropy(), rtol=1e-4, atol=1e-5)
    draws = d.sample(KEY)
    assert draws.shape == (4, 2) and draws.dtype == jnp.int32 and not draws[:, 0].any()


def test_multi_categorical_factors_are_drawn_independently():
    draws = MultiCategorical(jnp.zeros((4000, 4)), (2, 2)).sample(KEY)
    np.testing.assert_allclose(np.bincount(draws @ jnp.array([2, 1])) / 4000, np.full(4, 0.25), atol=0.03)


def test_multi_categorical_needs_as_many_logits_as_values():
    with pytest.raises(ValueError, match=r"num_values \(2, 3\) need 5 logits, got 4"):
        MultiCategorical(jnp.zeros(4), (2, 3)).mode()


# --- normal


def test_normal_against_scipy():
    loc, log_scale, x = jax.random.normal(KEY, (3, 4, 2))
    d, reference = Normal(loc, jnp.exp(log_scale)), scipy.stats.norm(loc, jnp.exp(log_scale))
    np.testing.assert_allclose(d.log_prob(x), reference.logpdf(x).sum(-1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(d.entropy(), reference.entropy().sum(-1), **CLOSE)
    np.testing.assert_allclose(Normal(loc, jnp.exp(log_scale), 0).log_prob(x), reference.logpdf(x), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(Normal(loc, jnp.exp(log_scale), 2).entropy(), reference.entropy().sum(), **CLOSE)
    np.testing.assert_array_equal(d.mode(), loc)


def test_normal_divergence_by_integration():
    p, q = Normal(jnp.array(0.5), jnp.array(0.7), 0), Normal(jnp.array(-0.3), jnp.array(1.2), 0)
    x = jnp.linspace(-6, 6, 4001)
    integral = np.trapezoid if hasattr(np, "trapezoid") else np.trapz
    expected = integral(jnp.exp(p.log_prob(x)) * (p.log_prob(x) - q.log_prob(x)), x)
    np.testing.assert_allclose(p.kl_divergence(q), expected, rtol=1e-4)


def test_a_scale_shared_by_all_rows_broadcasts():
    d = Normal(jnp.zeros((10_000, 2)), jnp.array([0.5, 2.0]))
    draws = d.sample(KEY)
    np.testing.assert_allclose(draws.std(0), [0.5, 2], rtol=0.05)
    np.testing.assert_allclose(draws.mean(0), [0, 0], atol=0.06)
    assert d.entropy().shape == d.log_prob(draws).shape == (10_000,)
    np.testing.assert_allclose(-d.log_prob(draws).mean(), d.entropy()[0], rtol=0.02)


# --- tanh-normal


@pytest.mark.parametrize("loc, scale, minimum, maximum", [(0.0, 1.0, -1.0, 1.0), (0.4, 0.3, -2.0, 2.0), (-1.0, 0.6, 3.0, 7.0)])
def test_tanh_normal_density_integrates_to_one(loc, scale, minimum, maximum):
    d = TanhNormal(jnp.array(loc), jnp.array(scale), minimum, maximum, 0)
    edges = np.linspace(minimum, maximum, 20_001)
    middles = (edges[1:] + edges[:-1]) / 2
    density = np.exp(np.float64(d.log_prob(middles)))
    np.testing.assert_allclose(density.sum() * (edges[1] - edges[0]), 1.0, atol=2e-3)
    # The density is the slope of the distribution function P(a < x) = Phi((arctanh(y) - loc) / scale).
    y = (np.array([0.2, 0.5, 0.9]) * 2) - 1
    cdf = lambda y: scipy.stats.norm(loc, scale).cdf(np.arctanh(y))
    half = (maximum - minimum) / 2
    slope = (cdf(y + 1e-5) - cdf(y - 1e-5)) / 2e-5 / half
    np.testing.assert_allclose(np.exp(d.log_prob((minimum + maximum) / 2 + half * y)), slope, rtol=1e-3, atol=1e-6)


def test_tanh_normal_by_change_of_variables_in_two_dimensions():
    low, high = (-2.0, 0.0), (2.0, 5.0)
    d = TanhNormal(jnp.array([0.3, -0.2]), jnp.array([0.5, 0.8]), low, high)
    x = jnp.array([0.7, -1.1])
    squash = lambda x: jnp.array([0.0, 2.5]) + jnp.array([2.0, 2.5]) * jnp.tanh(x)
    _, log_det = jnp.linalg.slogdet(jax.jacobian(squash)(x))
    np.testing.assert_allclose(d.log_prob(squash(x)), Normal(d.loc, d.scale).log_prob(x) - log_det, rtol=1e-5)
    np.testing.assert_allclose(d.mode(), squash(d.loc), rtol=1e-6)


def test_tanh_normal_draws_lie_within_bounds_with_their_log_density():
    d = TanhNormal(jax.random.normal(KEY, (1000, 2)), jnp.full((1000, 2), 0.8), (-2.0, 0.1), (2.0, 0.7))
    action, log_prob = jax.jit(TanhNormal.sample_and_log_prob)(d, KEY)
    assert action.shape == (1000, 2) and log_prob.shape == (1000,)
    low, high = np.float32([-2, 0.1]), np.float32([2, 0.7])
    assert (action >= low).all() and (action <= high).all()
    np.testing.assert_allclose(d.sample(KEY), action, rtol=1e-5)  # the same draw
    inside = (jnp.minimum(action - low, high - action) > 0.01 * (high - low)).all(-1)
    assert inside.mean() > 0.5
    np.testing.assert_allclose(d.log_prob(action)[inside], log_prob[inside], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(d.log_prob(action), log_prob, atol=0.1)  # near a bound, float32 has lost the rest


def test_tanh_normal_far_from_the_middle():
    d = TanhNormal(jnp.array([30.0, -30.0, 0.0]), jnp.array([0.1, 0.1, 20.0]), 0.1, 0.7)

    def draw(loc, scale):
        return TanhNormal(loc, scale, 0.1, 0.7).sample_and_log_prob(KEY)

    action, log_prob = draw(d.loc, d.scale)
    assert (action >= np.float32(0.1)).all() and (action <= np.float32(0.7)).all()
    # log slope of tanh at x is 2 log 2 - 2 |x| there: the first two components' alone is about 60 each
    assert jnp.isfinite(log_prob) and log_prob > 100
    assert all_finite(jax.jacobian(draw, argnums=(0, 1))(d.loc, d.scale))
    edge = lambda loc: d.replace(loc=loc).log_prob(jnp.array([0.7, 0.1, 0.7]))
    assert all_finite((edge(d.loc), jax.grad(edge)(d.loc)))


@pytest.mark.parametrize("scale, atol", [(0.05, 1e-4), (1.0, 1e-4), (2.0, 3e-4), (3.0, 4e-3), (7.4, 0.1)])
def test_tanh_normal_entropy_is_the_integral(scale, atol):
    """-integral of p log p over the normal variable, finely; with its gradient, by differences."""
    loc = np.linspace(-3.0, 3.0, 7)  # float64, for the differences
    entropy = lambda loc, scale: TanhNormal(loc, scale, -2.0, 2.0, 0).entropy()
    t = np.linspace(-9.0, 9.0, 4001)[:, None]
    log_slope = lambda x: 2 * (np.log(2) - x - np.logaddexp(0, -2 * x))
    average = lambda loc, scale: (scipy.stats.norm.pdf(t) * log_slope(loc + scale * t)).sum(0) * (t[1] - t[0])
    expected = lambda loc, scale: 0.5 * np.log(2 * np.pi * np.e * scale**2) + average(loc, scale) + np.log(2.0)
    np.testing.assert_allclose(entropy(np.float32(loc), jnp.float32(scale)), expected(loc, scale), atol=atol)
    if scale <= 2:
        slope = jax.vmap(jax.grad(entropy, argnums=(0, 1)), in_axes=(0, None))(np.float32(loc), jnp.float32(scale))
        np.testing.assert_allclose(slope[0], (expected(loc + 1e-4, scale) - expected(loc - 1e-4, scale)) / 2e-4, atol=2e-3)
        by_differences = (expected(loc, scale + 1e-4) - expected(loc, scale - 1e-4)) / 2e-4
        np.testing.assert_allclose(slope[1], by_differences, rtol=1e-3, atol=5e-3)


def test_tanh_normal_entropy_is_summed_over_components_of_any_bounds():
    d = TanhNormal(jnp.array([[0.3, -0.2]]), jnp.array([0.5, 0.8]), (-2.0, 0.0), (2.0, 5.0))
    _, log_prob = TanhNormal(jnp.tile(d.loc, (40_000, 1)), d.scale, (-2.0, 0.0), (2.0, 5.0)).sample_and_log_prob(KEY)
    np.testing.assert_allclose(d.entropy(), [-log_prob.mean()], atol=0.02)


def test_tanh_normal_refuses_what_has_no_meaning():
    with pytest.raises(ValueError, match="finite bounds with minimum < maximum, got -inf and inf"):
        TanhNormal(jnp.zeros(1), jnp.ones(1), -math.inf, math.inf).mode()
    with pytest.raises(ValueError, match="expected equal bounds"):
        TanhNormal(jnp.zeros(1), jnp.ones(1)).kl_divergence(TanhNormal(jnp.zeros(1), jnp.ones(1), -2.0, 2.0))


def test_tanh_normal_divergence_is_that_of_the_normals():
    p, q = (jnp.array([0.1]), jnp.array([0.5])), (jnp.array([-0.4]), jnp.array([0.9]))
    np.testing.assert_allclose(TanhNormal(*p).kl_divergence(TanhNormal(*q)), Normal(*p).kl_divergence(Normal(*q)))


# --- uniform and deterministic


def test_uniform():
    d = Uniform(jnp.array([[-1.0, 0], [2, 2]]), jnp.array([[1.0, 4], [3, 4]]))
    np.testing.assert_allclose(d.log_prob(jnp.array([[0.0, 1], [2.5, 3]])), [-math.log(8), -math.log(2)], rtol=1e-6)
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


# --- all of them

EVERY = {
    "categorical": Categorical(np.float32([[1, 2, 3], [3, 2, 1]])),
    "masked": Categorical(np.float32([[1, 2, 3], [3, 2, 1]]), np.array([[True, True, False], [True, False, True]])),
    "multi": MultiCategorical(np.float32([[1, 2, 3, 4, 5], [5, 4, 3, 2, 1]]), (2, 3)),
    "normal": Normal(np.float32([[1, 2], [3, 4]]), np.float32([[1, 2], [1, 2]])),
    "tanh": TanhNormal(np.float32([[0.1, 0.2], [0.3, 0.4]]), np.float32([[1, 0.2], [1, 0.2]]), (-2.0, -1.0), (2.0, 3.0)),
    "uniform": Uniform(np.float32([[1, 2], [3, 4]]), np.float32([[2, 3], [4, 5]])),
    "deterministic": Deterministic(np.float32([[1, 2], [3, 4]]), 1),
}


@pytest.mark.parametrize("name", EVERY)
def test_they_pass_through_jit_vmap_and_scan(name):
    d = EVERY[name]
    action, log_prob = jax.jit(lambda d, key: d.sample_and_log_prob(key))(d, KEY)
    assert log_prob.shape == (2,) and action.shape == (2,) + (2,) * d.event_ndim
    mapped = jax.vmap(lambda d, a: (d.log_prob(a), d.mode()))(d, action)
    np.testing.assert_allclose(mapped[0], d.log_prob(action), **CLOSE)
    np.testing.assert_allclose(mapped[1], d.mode(), **CLOSE)
    np.testing.assert_allclose(log_prob, mapped[0], rtol=1e-4, atol=1e-4)
    carried, (stacked, draws) = jax.lax.scan(lambda c, key: (c, (c, c.sample(key))), d, jax.random.split(KEY, 2))
    assert jax.tree.structure(carried) == jax.tree.structure(d) == jax.tree.structure(stacked)
    np.testing.assert_allclose(stacked.log_prob(draws), jnp.stack([d.log_prob(x) for x in draws]), rtol=1e-4, atol=1e-4)
    if name != "deterministic":
        assert not np.array_equal(draws[0], draws[1]) or action.dtype == np.int32
    if name != "tanh":
        assert d.entropy().shape == (2,)
    np.testing.assert_allclose(d.kl_divergence(d), np.zeros(2), atol=1e-6)
