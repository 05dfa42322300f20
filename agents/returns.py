"""Returns and advantages of one stream of T steps, which the caller maps over a batch with `vmap`.

`r_t` `[T]` and `discount_t` `[T]` belong to the steps; `discount_t` is gamma times the
environment's discount. `values` `[T + 1]` are those of the observations that the steps start from
and of the one after the last, from which estimates bootstrap. `lambda_` is a scalar or `[T]`.

The last row of an episode is a boundary row, which only holds the final observation (see
`agents.reductions`). `lambda_` must be 0 for the step before it (`reductions.trace_lambda`): the
estimate of that step is then r_t + discount_t V_{t+1}, with the value of the final observation if
the episode was truncated, and nothing of the next episode is in it. Results are targets and carry
no gradient.
Where a discount or a lambda is 0, what it would multiply does not count, whatever it is.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ..envs.types import Array
from .losses import scaled


class VTrace(NamedTuple):
    """The result of `vtrace`.

    Attributes:
      targets: Targets `[T]` of the values.
      advantages: Advantages `[T]` for the policy gradient, weighted by the clipped ratio.
      q_estimate: Estimates `[T]` of the actions' values, for objectives with a ratio of their own,
        such as APPO's clipped one.
    """

    targets: Array
    advantages: Array
    q_estimate: Array


def discounted_returns(r_t: Array, discount_t: Array, v_final: Array | float = 0.0) -> Array:
    """Returns sums of discounted rewards `[T]` (Sutton and Barto 2018, eq. 3.9).

    They are G_t = r_t + discount_t G_{t+1}, with G_T = `v_final`. Several episodes in one stream
    need a discount of 0 at the end of each. To bootstrap at a time limit, use `lambda_returns` with
    a lambda of 1, and of 0 before boundary rows.

    Args:
      r_t: Rewards `[T]`.
      discount_t: Discounts `[T]`.
      v_final: Value of the observation after the last step, a scalar.
    """
    return jax.lax.stop_gradient(_backward(r_t, discount_t, v_final))


def n_step_returns(
    r_t: Array, discount_t: Array, lambda_: Array | float, values: Array, n: int
) -> Array:
    """Returns n-step returns `[T]` (Sutton and Barto 2018, eq. 7.1).

    Each sums the rewards of n steps, or of fewer near the end of the stream, and then bootstraps
    from the value.

    Args:
      r_t: Rewards `[T]`.
      discount_t: Discounts `[T]`.
      lambda_: Decay of the trace, a scalar or `[T]`: 1 for plain n-step returns, and 0 before
        boundary rows. Between the two it mixes shorter returns in, as in `lambda_returns`.
      values: Values `[T + 1]`.
      n: Number of steps of a return.

    Raises:
      ValueError: if n < 1.
    """
    if n < 1:
        raise ValueError(f"n_step_returns: expected n >= 1, got {n}")
    returns = values
    for _ in range(n):  # after k passes these are k-step returns; V_T stays at the end
        mixed = scaled(1 - lambda_, values[1:]) + scaled(lambda_, returns[1:])
        returns = jnp.concatenate([r_t + scaled(discount_t, mixed), values[-1:]])
    return jax.lax.stop_gradient(returns[:-1])


def lambda_returns(r_t: Array, discount_t: Array, lambda_: Array | float, values: Array) -> Array:
    """Returns lambda-returns `[T]` (Sutton and Barto 2018, eq. 12.18).

    They are G_t = r_t + discount_t ((1 - lambda_t) V_{t+1} + lambda_t G_{t+1}), with G_T = V_T.

    Args:
      r_t: Rewards `[T]`.
      discount_t: Discounts `[T]`.
      lambda_: Decay of the trace, a scalar or `[T]`, 0 before boundary rows.
      values: Values `[T + 1]`.
    """
    bootstrapped = r_t + scaled(discount_t * (1 - lambda_), values[1:])
    return jax.lax.stop_gradient(_backward(bootstrapped, discount_t * lambda_, values[-1]))


def gae(r_t: Array, discount_t: Array, lambda_: Array | float, values: Array) -> Array:
    """Returns generalised advantage estimates `[T]` (Schulman et al. 2016, eq. 16).

    They are A_t = delta_t + discount_t lambda_t A_{t+1}, with A_T = 0 and
    delta_t = r_t + discount_t V_{t+1} - V_t. Advantages plus `values[:-1]` are the lambda-returns.

    Args:
      r_t: Rewards `[T]`.
      discount_t: Discounts `[T]`.
      lambda_: Decay of the trace, a scalar or `[T]`, 0 before boundary rows.
      values: Values `[T + 1]`.

    In the example delta = (1 + 0.5 x 2 - 0, 1 + 0.5 x 4 - 2) = (2, 1) and
    A_0 = 2 + 0.5 x 0.8 x 1 = 2.4.

    >>> gae(jnp.ones(2), jnp.full(2, 0.5), 0.8, jnp.array([0.0, 2.0, 4.0])).tolist()
    [2.4000000953674316, 1.0]
    """
    delta = r_t + scaled(discount_t, values[1:]) - values[:-1]
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
    """Returns off-policy targets and advantages (Espeholt et al. 2018, eq. 1 and section 4.2).

      delta_t      = min(clip_rho, rho_t) (r_t + discount_t V_{t+1} - V_t)
      e_t          = delta_t + discount_t lambda_t min(clip_c, rho_t) e_{t+1},   e_T = 0
      target_t     = V_t + e_t
      q_estimate_t = r_t + discount_t (lambda_t target_{t+1} + (1 - lambda_t) V_{t+1})
      advantage_t  = min(clip_pg_rho, rho_t) (q_estimate_t - V_t)

    A step has the ratio rho_t of its action, although rlax calls it `rho_tm1`. The mixture in
    q_estimate_t is rlax's: where lambda_t is 1 it is the paper's, and where it is 0, before a
    boundary row, nothing after that row is read.

    Args:
      r_t: Rewards `[T]`.
      discount_t: Discounts `[T]`.
      lambda_: Decay of the trace, a scalar or `[T]`, 0 before boundary rows.
      values: Values `[T + 1]`, by the current network.
      rho_tm1: Probability ratios `[T]` of the actions, current policy over behaviour policy.
      clip_rho: The paper's rho-bar, which sets the policy whose values the targets tend to.
      clip_c: The paper's c-bar: how much of later errors reaches earlier targets.
      clip_pg_rho: Greatest ratio in the advantages.
    """
    error = r_t + scaled(discount_t, values[1:]) - values[:-1]
    delta = scaled(jnp.minimum(clip_rho, rho_tm1), error)
    errors = _backward(delta, discount_t * lambda_ * jnp.minimum(clip_c, rho_tm1), 0.0)
    targets = values[:-1] + errors
    following = jnp.append(targets[1:], values[-1])
    mixed = scaled(lambda_, following) + scaled(1 - lambda_, values[1:])
    q_estimate = r_t + scaled(discount_t, mixed)
    advantages = scaled(jnp.minimum(clip_pg_rho, rho_tm1), q_estimate - values[:-1])
    return jax.lax.stop_gradient(VTrace(targets, advantages, q_estimate))


def _backward(x: Array, weight: Array, final: Array | float) -> Array:
    """Returns y `[T]` with y_t = x_t + weight_t y_{t+1} and y_T = final."""

    def step(following, inputs):
        y = inputs[0] + scaled(inputs[1], following)
        return y, y

    dtype = jnp.result_type(x, weight, final, jnp.float32)
    x, weight = jnp.broadcast_arrays(jnp.asarray(x, dtype), jnp.asarray(weight, dtype))
    return jax.lax.scan(step, jnp.asarray(final, dtype), (x, weight), reverse=True)[1]
