"""Normals and squashed normals beside SciPy, integrals, and numbers near the bounds."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jax_agents.networks.distributions import Normal, TanhNormal

KEY = jax.random.key(0)
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


def all_finite(tree):
    return all(jnp.isfinite(x).all() for x in jax.tree.leaves(tree))


def test_normal_against_scipy():
    loc, log_scale, x = jax.random.normal(KEY, (3, 4, 2))
    d, reference = Normal(loc, jnp.exp(log_scale)), scipy.stats.norm(loc, jnp.exp(log_scale))
    np.testing.assert_allclose(d.log_prob(x), reference.logpdf(x).sum(-1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(d.entropy(), reference.entropy().sum(-1), **CLOSE)
    np.testing.assert_allclose(
        Normal(loc, jnp.exp(log_scale), 0).log_prob(x), reference.logpdf(x), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(
        Normal(loc, jnp.exp(log_scale), 2).entropy(), reference.entropy().sum(), **CLOSE
    )
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


@pytest.mark.parametrize(
    "loc, scale, minimum, maximum",
    [(0.0, 1.0, -1.0, 1.0), (0.4, 0.3, -2.0, 2.0), (-1.0, 0.6, 3.0, 7.0)],
)
def test_tanh_normal_density_integrates_to_one(loc, scale, minimum, maximum):
    d = TanhNormal(jnp.array(loc), jnp.array(scale), minimum, maximum, 0)
    edges = np.linspace(minimum, maximum, 20_001)
    middles = (edges[1:] + edges[:-1]) / 2
    density = np.exp(np.float64(d.log_prob(middles)))
    np.testing.assert_allclose(density.sum() * (edges[1] - edges[0]), 1.0, atol=2e-3)
    # The density is the slope of the distribution function P(a < x) = Phi((arctanh(y) - loc) /
    # scale).
    y = (np.array([0.2, 0.5, 0.9]) * 2) - 1
    cdf = lambda y: scipy.stats.norm(loc, scale).cdf(np.arctanh(y))
    half = (maximum - minimum) / 2
    slope = (cdf(y + 1e-5) - cdf(y - 1e-5)) / 2e-5 / half
    np.testing.assert_allclose(
        np.exp(d.log_prob((minimum + maximum) / 2 + half * y)), slope, rtol=1e-3, atol=1e-6
    )


def test_tanh_normal_by_change_of_variables_in_two_dimensions():
    low, high = (-2.0, 0.0), (2.0, 5.0)
    d = TanhNormal(jnp.array([0.3, -0.2]), jnp.array([0.5, 0.8]), low, high)
    x = jnp.array([0.7, -1.1])
    squash = lambda x: jnp.array([0.0, 2.5]) + jnp.array([2.0, 2.5]) * jnp.tanh(x)
    _, log_det = jnp.linalg.slogdet(jax.jacobian(squash)(x))
    np.testing.assert_allclose(
        d.log_prob(squash(x)), Normal(d.loc, d.scale).log_prob(x) - log_det, rtol=1e-5
    )
    np.testing.assert_allclose(d.mode(), squash(d.loc), rtol=1e-6)


def test_tanh_normal_draws_lie_within_bounds_with_their_log_density():
    d = TanhNormal(
        jax.random.normal(KEY, (1000, 2)), jnp.full((1000, 2), 0.8), (-2.0, 0.1), (2.0, 0.7)
    )
    action, log_prob = jax.jit(TanhNormal.sample_and_log_prob)(d, KEY)
    assert action.shape == (1000, 2) and log_prob.shape == (1000,)
    low, high = np.float32([-2, 0.1]), np.float32([2, 0.7])
    assert (action >= low).all() and (action <= high).all()
    np.testing.assert_allclose(d.sample(KEY), action, rtol=1e-5)  # the same draw
    inside = (jnp.minimum(action - low, high - action) > 0.01 * (high - low)).all(-1)
    assert inside.mean() > 0.5
    np.testing.assert_allclose(d.log_prob(action)[inside], log_prob[inside], rtol=1e-4, atol=1e-4)
    # near a bound, float32 has lost the rest
    np.testing.assert_allclose(d.log_prob(action), log_prob, atol=0.1)


def test_tanh_normal_far_from_the_middle():
    d = TanhNormal(jnp.array([30.0, -30.0, 0.0]), jnp.array([0.1, 0.1, 20.0]), 0.1, 0.7)

    def draw(loc, scale):
        return TanhNormal(loc, scale, 0.1, 0.7).sample_and_log_prob(KEY)

    action, log_prob = draw(d.loc, d.scale)
    assert (action >= np.float32(0.1)).all() and (action <= np.float32(0.7)).all()
    # log slope of tanh at x is 2 log 2 - 2 |x| there: the first two components' alone is about 60
    # each
    assert jnp.isfinite(log_prob) and log_prob > 100
    assert all_finite(jax.jacobian(draw, argnums=(0, 1))(d.loc, d.scale))
    edge = lambda loc: d.replace(loc=loc).log_prob(jnp.array([0.7, 0.1, 0.7]))
    assert all_finite((edge(d.loc), jax.grad(edge)(d.loc)))


@pytest.mark.parametrize(
    "scale, atol", [(0.05, 1e-4), (1.0, 1e-4), (2.0, 3e-4), (3.0, 4e-3), (7.4, 0.1)]
)
def test_tanh_normal_entropy_is_the_integral(scale, atol):
    """-integral of p log p over the normal variable, finely; with its gradient, by differences."""
    loc = np.linspace(-3.0, 3.0, 7)  # float64, for the differences
    entropy = lambda loc, scale: TanhNormal(loc, scale, -2.0, 2.0, 0).entropy()
    t = np.linspace(-9.0, 9.0, 4001)[:, None]
    log_slope = lambda x: 2 * (np.log(2) - x - np.logaddexp(0, -2 * x))
    average = lambda loc, scale: (
        (scipy.stats.norm.pdf(t) * log_slope(loc + scale * t)).sum(0) * (t[1] - t[0])
    )
    expected = lambda loc, scale: (
        0.5 * np.log(2 * np.pi * np.e * scale**2) + average(loc, scale) + np.log(2.0)
    )
    np.testing.assert_allclose(
        entropy(np.float32(loc), jnp.float32(scale)), expected(loc, scale), atol=atol
    )
    if scale <= 2:
        slope = jax.vmap(jax.grad(entropy, argnums=(0, 1)), in_axes=(0, None))(
            np.float32(loc), jnp.float32(scale)
        )
        np.testing.assert_allclose(
            slope[0], (expected(loc + 1e-4, scale) - expected(loc - 1e-4, scale)) / 2e-4, atol=2e-3
        )
        by_differences = (expected(loc, scale + 1e-4) - expected(loc, scale - 1e-4)) / 2e-4
        np.testing.assert_allclose(slope[1], by_differences, rtol=1e-3, atol=5e-3)


def test_tanh_normal_entropy_is_summed_over_components_of_any_bounds():
    d = TanhNormal(jnp.array([[0.3, -0.2]]), jnp.array([0.5, 0.8]), (-2.0, 0.0), (2.0, 5.0))
    _, log_prob = TanhNormal(
        jnp.tile(d.loc, (40_000, 1)), d.scale, (-2.0, 0.0), (2.0, 5.0)
    ).sample_and_log_prob(KEY)
    np.testing.assert_allclose(d.entropy(), [-log_prob.mean()], atol=0.02)


def test_tanh_normal_refuses_what_has_no_meaning():
    with pytest.raises(ValueError, match="finite bounds with minimum < maximum, got -inf and inf"):
        TanhNormal(jnp.zeros(1), jnp.ones(1), -math.inf, math.inf).mode()
    with pytest.raises(ValueError, match="expected equal bounds"):
        TanhNormal(jnp.zeros(1), jnp.ones(1)).kl_divergence(
            TanhNormal(jnp.zeros(1), jnp.ones(1), -2.0, 2.0)
        )


def test_tanh_normal_divergence_is_that_of_the_normals():
    p, q = (jnp.array([0.1]), jnp.array([0.5])), (jnp.array([-0.4]), jnp.array([0.9]))
    np.testing.assert_allclose(
        TanhNormal(*p).kl_divergence(TanhNormal(*q)), Normal(*p).kl_divergence(Normal(*q))
    )
