"""Returns and advantages of one stream of T steps, time first, to be vmapped over a batch by the
caller.

`r_t` `[T]` and `discount_t` `[T]` belong to the steps; `discount_t` is gamma times the
environment's discount. `values` `[T + 1]` are of the observations that the steps start from and of
the one after the last, which is what is bootstrapped from. `lambda_` is a scalar or `[T]`. Where
the next row is a boundary it must be 0 (`reductions.trace_lambda`): then estimates bootstrap from
the final observation of a truncated episode, and nothing crosses into the next. Results are targets
and carry no gradient.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ..envs.types import Array


class VTrace(NamedTuple):
    """What `vtrace` returns, each `[T]`: value `targets`; `advantages` for the policy gradient,
    which the clipped ratio weighs; `q_estimate`, of the actions' values, for objectives that weigh
    by a ratio themselves."""

    targets: Array
    advantages: Array
    q_estimate: Array


def discounted_returns(r_t: Array, discount_t: Array, v_final: Array | float = 0.0) -> Array:
    """Sums of discounted rewards, `[T]`: G_t = r_t + discount_t G_{t+1}, and G_T = `v_final`
    (Sutton and Barto 2018, eq. 3.9).

    Several episodes in one stream need a discount of 0 at each one's end. Where a time limit should
    be bootstrapped from, use `lambda_returns` with a lambda of 1.
    """
    return jax.lax.stop_gradient(_backward(r_t, discount_t, v_final))


def n_step_returns(
    r_t: Array, discount_t: Array, lambda_: Array | float, values: Array, n: int
) -> Array:
    """Returns over n steps, then the value, `[T]` (Sutton and Barto 2018, eq. 7.1; over fewer near
    the end of the stream).

    `lambda_` mixes the shorter ones in, as in `lambda_returns`: 1 for plain n-step returns, with 0
    at boundaries.

    Raises:
      ValueError: if n < 1.
    """
    if n < 1:
        raise ValueError(f"n_step_returns: expected n >= 1, got {n}")
    returns = values
    for _ in range(n):
        mixed = (1 - lambda_) * values[1:] + lambda_ * returns[1:]
        returns = jnp.concatenate([r_t + discount_t * mixed, values[-1:]])
    return jax.lax.stop_gradient(returns[:-1])


def lambda_returns(r_t: Array, discount_t: Array, lambda_: Array | float, values: Array) -> Array:
    """G_t = r_t + discount_t ((1 - lambda_t) V_{t+1} + lambda_t G_{t+1}), `[T]` (Sutton and Barto
    2018, eq. 12.18).
    """
    bootstrapped = r_t + discount_t * (1 - lambda_) * values[1:]
    return jax.lax.stop_gradient(_backward(bootstrapped, discount_t * lambda_, values[-1]))


def gae(r_t: Array, discount_t: Array, lambda_: Array | float, values: Array) -> Array:
    """Generalised advantage estimates `[T]` (Schulman et al. 2016, eq. 16).

    With delta_t = r_t + discount_t V_{t+1} - V_t,  A_t = delta_t + discount_t lambda_t A_{t+1}  and
    A_T = 0. Advantages plus `values[:-1]` are the lambda-returns.

    Hand-worked: delta = (1 + 0.5 x 2 - 0, 1 + 0.5 x 4 - 2) = (2, 1), and A_0 = 2 + 0.5 x 0.8 x 1.

    >>> gae(jnp.ones(2), jnp.full(2, 0.5), 0.8, jnp.array([0.0, 2.0, 4.0])).tolist()
    [2.4000000953674316, 1.0]
    """
    delta = r_t + discount_t * values[1:] - values[:-1]
    return jax.lax.stop_gradient(_backward(delta, discount_t * lambda_, 0.0))


def vtrace(
    r_t: Array,
    discount_t: Array,
    lambda_: Array | float,
    values: Array,
    rho_tm1: Array,
    clip_rho: float = 1.0,
    clip_c: float = 1.0,
    clip_pg_rho: float = 1.0,
) -> VTrace:
    """Off-policy targets and advantages (Espeholt et al. 2018, eq. 1 and section 4.2).

      delta_t     = min(clip_rho, rho_t) (r_t + discount_t V_{t+1} - V_t)
      target_t    = V_t + e_t,   e_t = delta_t + discount_t lambda_t min(clip_c, rho_t) e_{t+1},
      e_T = 0 q_estimate  = r_t + discount_t (lambda_t target_{t+1} + (1 - lambda_t) V_{t+1})
      advantage_t = min(clip_pg_rho, rho_t) (q_estimate_t - V_t)

    The mixture is as in rlax; where lambda is 1 it is the paper's, and where it is 0 nothing is
    read across a boundary.

    Args:
      r_t: `[T]` rewards.
      discount_t: `[T]`.
      lambda_: a scalar, or `[T]`.
      values: `[T + 1]`, of the current network.
      rho_tm1: `[T]` probability ratios of the actions, current policy over behaviour policy.
      clip_rho: sets which policy's value the targets tend to.
      clip_c: the paper's c-bar, which bounds how far corrections travel.
      clip_pg_rho: bounds the ratio in the advantages.
    """
    delta = jnp.minimum(clip_rho, rho_tm1) * (r_t + discount_t * values[1:] - values[:-1])
    errors = _backward(delta, discount_t * lambda_ * jnp.minimum(clip_c, rho_tm1), 0.0)
    targets = values[:-1] + errors
    following = jnp.append(targets[1:], values[-1])
    q_estimate = r_t + discount_t * (lambda_ * following + (1 - lambda_) * values[1:])
    advantages = jnp.minimum(clip_pg_rho, rho_tm1) * (q_estimate - values[:-1])
    return jax.lax.stop_gradient(VTrace(targets, advantages, q_estimate))


def _backward(x: Array, weight: Array, final: Array | float) -> Array:
    """y_t = x_t + weight_t y_{t+1}, with y_T = final, `[T]`."""

    def step(following, inputs):
        y = inputs[0] + inputs[1] * following
        return y, y

    dtype = jnp.result_type(x, weight, final, jnp.float32)
    x, weight = jnp.broadcast_arrays(jnp.asarray(x, dtype), jnp.asarray(weight, dtype))
    return jax.lax.scan(step, jnp.asarray(final, dtype), (x, weight), reverse=True)[1]
