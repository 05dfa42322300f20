"""Returns and advantages: numbers by hand, quadratic sums over random streams, and rlax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jax_agents.agents import returns
from jax_agents.agents.reductions import trace_lambda
from jax_agents.envs.types import Trajectory

FIRST, MID, LAST = 0, 1, 2
STEPS = 12
EXAMPLES = settings(max_examples=25, deadline=None)
REWARDS, DISCOUNTS = jnp.ones(9), jnp.array([1, 1, 1, 1, 0, 0.9, 0.9, 0.9, 0])

gae = jax.jit(returns.gae)
lambda_returns = jax.jit(returns.lambda_returns)
vtrace = jax.jit(returns.vtrace)


def test_discounted_returns():
    # From the end: 1; 1 + .9; 1 + .9 x 1.9; 1 + .9 x 2.71; then a discount of 0 starts again at 1,
    # 2, 3, 4, 5.
    expected = [5, 4, 3, 2, 1, 3.439, 2.71, 1.9, 1]
    np.testing.assert_allclose(returns.discounted_returns(REWARDS, DISCOUNTS), expected, rtol=1e-6)
    two = jax.vmap(returns.discounted_returns, in_axes=(0, None, 0))(
        jnp.ones((2, 2)), jnp.array([0.5, 0.5]), jnp.array([0.0, 8.0])
    )
    np.testing.assert_allclose(two, [[1.5, 1], [3.5, 5]])  # 1 + .5 x 8 = 5; 1 + .5 x 5 = 3.5


def test_gae():
    expected = [2.0808625, 1.13775, 0.145, -0.9, -2.0, 0.56016475, -0.16355, -1.01, -2.0]
    np.testing.assert_allclose(
        gae(REWARDS, DISCOUNTS, 0.95, jnp.full(10, 3.0)), expected, rtol=1e-5, atol=1e-6
    )


def test_gae_bootstraps_from_the_value_after_the_last_step():
    # delta = (1 + .5 x 2 - 0, 1 + .5 x 4 - 2) = (2, 1); A_0 = 2 + .5 x .8 x 1. From V[T-1] = 2, A_1
    # would be 0.
    np.testing.assert_allclose(
        gae(jnp.ones(2), jnp.full(2, 0.5), 0.8, jnp.array([0.0, 2.0, 4.0])), [2.4, 1], rtol=1e-6
    )


def test_a_time_limit_bootstraps_and_cuts_the_trace():
    # One step into a time limit, the boundary row, and a first step of the next episode. r = 1,
    # gamma = .9, V(final) = 10: A_0 = 1 + .9 x 10 - 2 = 8 whatever comes after; A_2 = 1 + .9 x 5 -
    # 4 = 1.5.
    next_step_type = jnp.array([LAST, FIRST, MID])
    rows = Trajectory(None, None, None, None, next_step_type, None, None)
    out = gae(
        jnp.array([1.0, 0, 1]),
        jnp.full(3, 0.9),
        trace_lambda(rows, 0.95),
        jnp.array([2.0, 10, 4, 5]),
    )
    np.testing.assert_allclose(out[jnp.array([0, 2])], [8, 1.5], rtol=1e-6)


def test_n_step_returns():
    r, d, values = jnp.array([1.0, 2, 3]), jnp.full(3, 0.5), jnp.array([10.0, 20, 30, 40])
    # n=1: 1 + 10, 2 + 15, 3 + 20.  n=2: 1 + .5 x (2 + 15) = 9.5, 2 + .5 x (3 + 20) = 13.5, 23.
    # n=3: 1 + .5 x 13.5 = 7.75.
    np.testing.assert_allclose(returns.n_step_returns(r, d, 1.0, values, 1), [11, 17, 23])
    np.testing.assert_allclose(returns.n_step_returns(r, d, 1.0, values, 2), [9.5, 13.5, 23])
    np.testing.assert_allclose(returns.n_step_returns(r, d, 1.0, values, 3), [7.75, 13.5, 23])
    # A trace of 0 after step 1 stops there: 1 + .5 x (2 + .5 x 30).
    np.testing.assert_allclose(
        returns.n_step_returns(r, d, jnp.array([1.0, 0, 1]), values, 3)[0], 9.5
    )
    with pytest.raises(ValueError, match="n >= 1, got 0"):
        returns.n_step_returns(r, d, 1.0, values, 0)


def test_vtrace():
    # Ratios (2, .5), clipped to 1 at the top; gamma 1; V = (1, 2, 3); r = 1.
    # delta = (1 x (1 + 2 - 1), .5 x (1 + 3 - 2)) = (2, 1); e_1 = 1, e_0 = 2 + 1 x 1 = 3; targets
    # (4, 3). advantages: 1 x (1 + target_1 - 1) = 3 and .5 x (1 + 3 - 2) = 1.
    args = jnp.ones(2), jnp.ones(2), 1.0, jnp.array([1.0, 2, 3]), jnp.array([2.0, 0.5])
    out = vtrace(*args)
    np.testing.assert_allclose(out.targets, [4, 3])
    np.testing.assert_allclose(out.advantages, [3, 1])
    # Ratio 2 let through in delta alone: e_0 = 2 x 2 + 1 x 1 = 5. In c alone: 2 + 2 x 1 = 4. In the
    # advantage: 2 x 3 = 6.
    np.testing.assert_allclose(vtrace(*args, clip_rho=3.0).targets, [6, 3])
    np.testing.assert_allclose(vtrace(*args, clip_c=3.0).targets, [5, 3])
    np.testing.assert_allclose(vtrace(*args, clip_pg_rho=3.0).advantages, [6, 1])


def stream(seed):
    """r, gamma x discount, values, ratios, row types: random, with terminations and time limits."""
    rng = np.random.default_rng(seed)
    types, discounts = [int(rng.integers(3))], []
    for _ in range(STEPS):
        if types[-1] == LAST:
            types.append(FIRST)
            discounts.append(1.0)
        else:
            types.append(LAST if rng.random() < 0.3 else MID)
            discounts.append(0.0 if types[-1] == LAST and rng.random() < 0.5 else 1.0)
    reward, values, rho = (
        rng.normal(size=STEPS),
        rng.normal(size=STEPS + 1),
        rng.lognormal(size=STEPS),
    )
    rows = Trajectory(np.array(types[:-1]), None, None, None, np.array(types[1:]), None, None)
    return tuple(np.float32(x) for x in (reward, 0.9 * np.array(discounts), values, rho)), rows


def episode_end(rows, t):
    """One past the last step of step t's episode (in the stream)."""
    while t < STEPS and rows.next_step_type[t] != LAST:
        t += 1
    return min(t + 1, STEPS)


def compare(actual, rows, expected):
    """Checks every step that is learned from."""
    steps = [t for t in range(STEPS) if rows.step_type[t] != LAST]
    np.testing.assert_allclose(
        np.asarray(actual)[steps],
        [expected(t, episode_end(rows, t)) for t in steps],
        rtol=1e-4,
        atol=1e-5,
    )


@EXAMPLES
@given(st.integers(0, 10_000))
def test_gae_against_sums_within_each_episode(seed):
    (r, d, v, _), rows = stream(seed)
    delta = r + d * v[1:] - v[:-1]
    actual = gae(r, d, trace_lambda(rows, 0.8), v)
    compare(
        actual, rows, lambda t, end: sum(np.prod(d[t:k] * 0.8) * delta[k] for k in range(t, end))
    )
    np.testing.assert_allclose(
        actual + v[:-1], lambda_returns(r, d, trace_lambda(rows, 0.8), v), rtol=1e-4, atol=1e-5
    )


@EXAMPLES
@given(st.integers(0, 10_000))
def test_lambda_returns_are_weighted_n_step_returns(seed):
    (r, d, v, _), rows = stream(seed)

    def n_step(t, end):
        return sum(np.prod(d[t:k]) * r[k] for k in range(t, end)) + np.prod(d[t:end]) * v[end]

    def expected(t, end):
        shorter = sum((1 - 0.8) * 0.8 ** (k - t - 1) * n_step(t, k) for k in range(t + 1, end))
        return shorter + 0.8 ** (end - t - 1) * n_step(t, end)

    compare(lambda_returns(r, d, trace_lambda(rows, 0.8), v), rows, expected)
    compare(lambda_returns(r, d, trace_lambda(rows, 1.0), v), rows, n_step)
    compare(
        returns.n_step_returns(r, d, trace_lambda(rows, 1.0), v, 3),
        rows,
        lambda t, end: n_step(t, min(end, t + 3)),
    )


@EXAMPLES
@given(st.integers(0, 10_000))
def test_vtrace_against_sums_within_each_episode(seed):
    (r, d, v, rho), rows = stream(seed)
    delta, c = np.minimum(1.2, rho) * (r + d * v[1:] - v[:-1]), np.minimum(1.1, rho)

    def target(t, end):
        return v[t] + sum(np.prod(d[t:k] * c[t:k]) * delta[k] for k in range(t, end))

    def advantage(t, end):
        following = target(t + 1, end) if t + 1 < end else v[t + 1]
        return np.minimum(1.3, rho[t]) * (r[t] + d[t] * following - v[t])

    actual = vtrace(r, d, trace_lambda(rows, 1.0), v, rho, 1.2, 1.1, 1.3)
    compare(actual.targets, rows, target)
    compare(actual.advantages, rows, advantage)


def test_on_policy_vtrace_targets_are_lambda_returns():
    (r, d, v, _), rows = stream(3)
    trace = trace_lambda(rows, 0.7)
    np.testing.assert_allclose(
        vtrace(r, d, trace, v, np.ones_like(r)).targets,
        lambda_returns(r, d, trace, v),
        rtol=1e-4,
        atol=1e-5,
    )


def test_targets_carry_no_gradient():
    (r, d, v, rho), _ = stream(0)
    for f in (
        lambda v: returns.gae(r, d, 0.9, v),
        lambda v: returns.lambda_returns(r, d, 0.9, v),
        lambda v: returns.n_step_returns(r, d, 1.0, v, 2),
        lambda v: returns.discounted_returns(r, d, v[-1]),
        lambda v: sum(returns.vtrace(r, d, 0.9, v, rho)),
    ):
        np.testing.assert_array_equal(jax.grad(lambda v: f(v).sum())(v), 0 * v)  # noqa: B023


def test_against_rlax():
    rlax = pytest.importorskip("rlax")
    (r, d, v, rho), rows = stream(7)
    trace = trace_lambda(rows, 0.8)
    close = {"rtol": 1e-4, "atol": 1e-5}
    np.testing.assert_allclose(
        gae(r, d, trace, v),
        rlax.truncated_generalized_advantage_estimation(r, d, trace, v),
        **close,
    )
    np.testing.assert_allclose(
        lambda_returns(r, d, trace, v), rlax.lambda_returns(r, d, v[1:], trace), **close
    )
    for lambda_ in (trace, jnp.float32(0.8)):
        theirs = rlax.vtrace_td_error_and_advantage(v[:-1], v[1:], r, d, rho, lambda_, 1.2, 1.3)
        ours = vtrace(r, d, lambda_, v, rho, 1.2, 1.0, 1.3)
        np.testing.assert_allclose(ours.targets - v[:-1], theirs.errors, **close)
        np.testing.assert_allclose(ours.advantages, theirs.pg_advantage, **close)
    np.testing.assert_allclose(
        returns.n_step_returns(r, d, 0.8, v, 3),
        rlax.n_step_bootstrapped_returns(r, d, v[1:], 3, 0.8),
        **close,
    )
