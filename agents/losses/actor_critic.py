"""Losses of off-policy actor-critics: DDPG, TD3, SAC and discrete SAC.

A name ends in `tm1` if it belongs to the step from o to o' that is learned from, and in `t` if it
belongs to the observation o' after it. Losses are of one step; agents map them over a batch.
"""

import jax
import jax.numpy as jnp

from ...envs.types import Array
from .elementwise import td_target


def dpg(q_tm1: Array) -> Array:
    """Returns -q, whose gradient is the deterministic policy gradient, for any shape.

    The gradient flows through q into the actor (Silver et al. 2014, eq. 9). The caller passes q of
    critics whose parameters are constants.

    Args:
      q_tm1: Values of the actor's own actions.
    """
    return -q_tm1


def smoothed_action(
    a_t: Array, noise: Array, noise_clip: float | Array, minimum: Array, maximum: Array
) -> Array:
    """Returns TD3's target action: a plus clipped noise, held within the action's bounds.

    Noise and its clip are in units of the action (Fujimoto et al. 2018, eq. 14). The arguments have
    any shapes that broadcast.

    Args:
      a_t: Actions a of the target actor.
      noise: Noise, before it is clipped.
      noise_clip: Greatest magnitude of the noise.
      minimum: Lower bounds of the action.
      maximum: Upper bounds of the action.
    """
    return jnp.clip(a_t + jnp.clip(noise, -noise_clip, noise_clip), minimum, maximum)


def clipped_double_q_target(r_t: Array, discount_t: Array, q_t: Array) -> Array:
    """Returns r + discount min_i q_i, without gradient, a scalar (Fujimoto et al. 2018, eq. 10).

    Args:
      r_t: Reward, a scalar.
      discount_t: Gamma times the environment's discount, a scalar.
      q_t: Values `[N]` of the next action, one from each of the N target critics.
    """
    return td_target(r_t, discount_t, jnp.min(q_t, axis=0))


def soft_value(q_t: Array, log_prob_t: Array, alpha: Array | float) -> Array:
    """Returns SAC's value of one drawn action: min_i q_i - alpha log pi(a), a scalar.

    It is the `next_value` of a `td_target` (Haarnoja et al. 2018, arXiv:1812.05905, eq. 3).

    Args:
      q_t: Values `[N]` of the action, one from each critic: the target critics for a target.
      log_prob_t: Log-probability of the action, a scalar.
      alpha: Temperature.
    """
    return jnp.min(q_t, axis=0) - alpha * log_prob_t


def sac_actor(q_tm1: Array, log_prob_tm1: Array, alpha: Array) -> Array:
    """Returns SAC's actor loss alpha log pi(a) - min_i q_i, a scalar.

    The action is reparametrised (Haarnoja et al. 2018, arXiv:1812.05905, eq. 9). The caller passes
    values of critics whose parameters are constants.

    Args:
      q_tm1: Values `[N]` of the action, one from each critic: the target critics for a target.
      log_prob_tm1: Log-probability of the action, a scalar.
      alpha: Temperature; no gradient flows into it.
    """
    return -soft_value(q_tm1, log_prob_tm1, jax.lax.stop_gradient(alpha))


def sac_temperature(log_alpha: Array, log_prob_tm1: Array, target_entropy: Array | float) -> Array:
    """Returns -alpha (log pi(a) + target entropy), for any shape.

    Source: Haarnoja et al. 2018, arXiv:1812.05905, eq. 18.

    Gradient descent raises alpha if the entropy is too low.

    Args:
      log_alpha: Logarithm of the temperature.
      log_prob_tm1: Log-probabilities of the actions, without gradient; for discrete SAC the
        negative entropies of pi (Christodoulou 2019, eq. 11).
      target_entropy: Desired entropy, in nats.
    """
    return -jnp.exp(log_alpha) * jax.lax.stop_gradient(log_prob_tm1 + target_entropy)


def discrete_soft_value(q_t: Array, log_probs_t: Array, alpha: Array | float) -> Array:
    """Returns the expectation of `soft_value` over all actions (Christodoulou 2019, eq. 10).

    It is sum_a pi(a) (min_i q_i(a) - alpha log pi(a)), a scalar.

    Args:
      q_t: Values `[N, A]` of the actions, one row from each critic.
      log_probs_t: Log-probabilities `[A]` of the actions. A forbidden action has -inf, or a number
        so low that its probability is 0 in float32, and counts for nothing.
      alpha: Temperature.
    """
    probs = jnp.exp(log_probs_t)
    allowed = probs > 0
    q = jnp.where(allowed, jnp.min(q_t, axis=0), 0.0)
    each = q - alpha * jnp.where(allowed, log_probs_t, 0.0)
    return jnp.sum(jnp.where(allowed, probs * each, 0.0))


def discrete_sac_actor(q_tm1: Array, log_probs_tm1: Array, alpha: Array) -> Array:
    """Returns discrete SAC's actor loss, a scalar (Christodoulou 2019, eq. 12).

    It is sum_a pi(a) (alpha log pi(a) - min_i q_i(a)).

    Args:
      q_tm1: Values `[N, A]` of the actions, one row from each critic, without gradient.
      log_probs_tm1: Log-probabilities `[A]` of the actions, as in `discrete_soft_value`.
      alpha: Temperature; no gradient flows into it.
    """
    return -discrete_soft_value(
        jax.lax.stop_gradient(q_tm1), log_probs_tm1, jax.lax.stop_gradient(alpha)
    )
