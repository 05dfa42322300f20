"""Losses as mathematics: pure functions of one transition, to be vmapped over a batch by the caller.

Names are rlax's: `x_tm1` belongs to the time step where the action was taken, `x_t` to the one that followed, and
`discount_t` is gamma times the environment's discount (over n steps: `Transition.discount`). Networks have been applied
already. Targets carry no gradient. Shapes are those of a single transition, with A actions, K atoms or quantiles and N
critics. Weighting by importance and masking by `Transition.mask` are the caller's.
"""

import jax
import jax.numpy as jnp

from ..envs.types import Array

_FORBIDDEN = -1e30  # finite, so that differences are not NaN


def squared(x: Array) -> Array:
    """x^2, without the half (TF-Agents' `element_wise_squared_loss`; rlax's `l2_loss` is 0.5 x^2). Any shape."""
    return jnp.square(x)


def huber(x: Array, delta: Array | float = 1.0) -> Array:
    """0.5 x^2 for |x| <= delta, and delta (|x| - 0.5 delta) beyond (Huber 1964): a gradient of at most delta. Any shape."""
    magnitude = jnp.abs(x)
    inside = jnp.minimum(magnitude, delta)
    return 0.5 * inside**2 + delta * (magnitude - inside)


def index(values: Array, action: Array) -> Array:
    """The entry `values[action]` of `[A, ...]`, as a masked sum: its gradient is no scatter, which CPUs are slow at."""
    chosen = jnp.arange(values.shape[0]) == action
    return jnp.sum(jnp.where(chosen.reshape((-1,) + (1,) * (values.ndim - 1)), values, 0), axis=0)


def greedy(q: Array, mask: Array | None = None) -> Array:
    """The allowed action of highest value, of `q` and `mask` `[A]`; a mask that forbids everything forbids nothing.

    The observation after an episode's end may forbid everything. At a time limit it is bootstrapped from all the same.
    """
    if mask is None:
        return jnp.argmax(q)
    return jnp.argmax(jnp.where(mask | ~jnp.any(mask), q, _FORBIDDEN))


def td_target(r_t: Array, discount_t: Array, v_t: Array) -> Array:
    """r + discount v, without gradient. Any shapes that broadcast."""
    return jax.lax.stop_gradient(r_t + discount_t * v_t)


def q_learning(q_tm1: Array, a_tm1: Array, r_t: Array, discount_t: Array, q_t: Array, mask_t: Array | None = None) -> Array:
    """The Q-learning error r + discount max_a q_t(a) - q_tm1(a_tm1) (Watkins 1989; Mnih et al. 2015).

    Args:
      q_tm1: `[A]` values where the action was taken.
      a_tm1: the action, an integer.
      r_t: the reward.
      discount_t: gamma times the environment's discount.
      q_t: `[A]` values at the next observation, usually the target network's.
      mask_t: `[A]` True where an action is allowed there.

    Returns:
      The temporal-difference error, a scalar; its gradient is that of -q_tm1(a_tm1).
    """
    return double_q_learning(q_tm1, a_tm1, r_t, discount_t, q_t, q_t, mask_t)


def double_q_learning(
    q_tm1: Array,
    a_tm1: Array,
    r_t: Array,
    discount_t: Array,
    q_t_value: Array,
    q_t_selector: Array,
    mask_t: Array | None = None,
) -> Array:
    """The double Q-learning error (van Hasselt et al. 2016): `q_t_selector` `[A]` chooses the next action, by the online
    network, and `q_t_value` `[A]` values it, by the target network. Otherwise as `q_learning`."""
    v_t = index(q_t_value, greedy(q_t_selector, mask_t))
    return td_target(r_t, discount_t, v_t) - index(q_tm1, a_tm1)
