"""Losses of agents that learn one value for each discrete action."""

import jax.numpy as jnp

from ...envs.types import Array
from .elementwise import td_target

_FORBIDDEN = -1e30  # finite, so that differences are not NaN


def index(values: Array, action: Array) -> Array:
    """Returns the entry `values[action]` `[...]`.

    It is computed as a masked sum, whose gradient needs no scatter; scatters are slow on CPUs.

    Args:
      values: Values `[A, ...]`.
      action: Index into the first axis, an integer scalar.
    """
    chosen = jnp.arange(values.shape[0]) == action
    return jnp.sum(jnp.where(chosen.reshape((-1,) + (1,) * (values.ndim - 1)), values, 0), axis=0)


def greedy(q: Array, mask: Array | None = None) -> Array:
    """Returns the allowed action of the highest value, an integer scalar.

    A mask that forbids everything is ignored. The observation after an episode's end may carry such
    a mask, and at a time limit it is bootstrapped from all the same.

    Args:
      q: Action values `[A]`.
      mask: Mask `[A]`, True or nonzero for the allowed actions; None allows all.
    """
    if mask is None:
        return jnp.argmax(q)
    return jnp.argmax(jnp.where(mask.astype(bool) | ~jnp.any(mask), q, _FORBIDDEN))


def q_learning(
    q_tm1: Array,
    a_tm1: Array,
    r_t: Array,
    discount_t: Array,
    q_t: Array,
    mask_t: Array | None = None,
) -> Array:
    """Returns the Q-learning error r + discount max_a q_t(a) - q_tm1(a_tm1).

    It is the error of Watkins (1989) and of DQN (Mnih et al. 2015).

    Args:
      q_tm1: Action values `[A]` at the observation where the action was taken.
      a_tm1: Action taken there, an integer scalar.
      r_t: Reward, a scalar.
      discount_t: Gamma times the environment's discount, a scalar.
      q_t: Action values `[A]` at the next observation, usually the target network's.
      mask_t: Mask `[A]`, True for the actions allowed at the next observation; None allows all.

    Returns:
      The temporal-difference error, a scalar, with the gradient of -q_tm1(a_tm1).
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
    """Returns the double Q-learning error (van Hasselt et al. 2016).

    It is r + discount q_t_value(a*) - q_tm1(a_tm1), where a* maximises `q_t_selector`.

    Args:
      q_tm1: Action values `[A]` at the observation where the action was taken.
      a_tm1: Action taken there, an integer scalar.
      r_t: Reward, a scalar.
      discount_t: Gamma times the environment's discount, a scalar.
      q_t_value: Action values `[A]` at the next observation that value a*, by the target network.
      q_t_selector: Action values `[A]` there that choose a*, by the online network.
      mask_t: Mask `[A]`, True for the actions allowed at the next observation; None allows all.

    Returns:
      The temporal-difference error, a scalar, with the gradient of -q_tm1(a_tm1).
    """
    v_t = index(q_t_value, greedy(q_t_selector, mask_t))
    return td_target(r_t, discount_t, v_t) - index(q_tm1, a_tm1)
