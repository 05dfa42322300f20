"""Losses of on-policy agents: the policy gradient, PPO's surrogates and its clipped value loss."""

import jax
import jax.numpy as jnp

from ...envs.types import Array
from .elementwise import squared


def policy_gradient(log_prob_tm1: Array, advantage_t: Array) -> Array:
    """Returns -log pi(a) x advantage, for any shape (Williams 1992).

    With an advantage of 1 this is behavioural cloning.

    Args:
      log_prob_tm1: Log-probabilities of the actions.
      advantage_t: Advantages or returns, held constant.
    """
    return -log_prob_tm1 * jax.lax.stop_gradient(advantage_t)


def clipped_surrogate(prob_ratio_t: Array, advantage_t: Array, epsilon: Array | float) -> Array:
    """Returns PPO's clipped objective, negated, for any shape (Schulman et al. 2017, eq. 7).

    It is -min(ratio A, clip(ratio, 1 - epsilon, 1 + epsilon) A).

    Args:
      prob_ratio_t: Probability ratios pi(a) / pi_old(a) of the actions.
      advantage_t: Advantages A, held constant.
      epsilon: Greatest profitable change of the ratio.
    """
    advantage = jax.lax.stop_gradient(advantage_t)
    return -jnp.minimum(
        prob_ratio_t * advantage, jnp.clip(prob_ratio_t, 1 - epsilon, 1 + epsilon) * advantage
    )


def kl_penalised_surrogate(
    prob_ratio_t: Array, advantage_t: Array, kl: Array, beta: Array | float
) -> Array:
    """Returns PPO's penalised objective, negated, for any shape (Schulman et al. 2017, eq. 8).

    It is -(ratio A - beta KL(pi_old || pi)).

    Args:
      prob_ratio_t: Probability ratios pi(a) / pi_old(a) of the actions.
      advantage_t: Advantages A, held constant.
      kl: KL divergences KL(pi_old || pi) in nats.
      beta: Weight of the divergences.
    """
    return -prob_ratio_t * jax.lax.stop_gradient(advantage_t) + beta * kl


def adapt_kl_beta(beta: Array, kl: Array, target: Array | float) -> Array:
    """Returns the next beta of `kl_penalised_surrogate` (Schulman et al. 2017, section 4).

    It is halved if the KL divergence fell below target / 1.5, and doubled above 1.5 target.

    Args:
      beta: Beta of the last update, a scalar.
      kl: Mean KL divergence that the last update made, in nats, a scalar.
      target: Desired mean KL divergence of an update, in nats.
    """
    return jnp.where(kl < target / 1.5, beta / 2.0, jnp.where(kl > target * 1.5, beta * 2.0, beta))


def clipped_value(v_tm1: Array, v_old_tm1: Array, return_t: Array, epsilon: Array | float) -> Array:
    """Returns PPO's clipped value loss, the larger of two squared errors, for any shape.

    One is the error of v, the other the error of v held within epsilon of its value before the
    update (OpenAI Baselines' ppo2; not in the paper).

    Args:
      v_tm1: Values v.
      v_old_tm1: Values before the update.
      return_t: Returns that the values are fitted to, held constant.
      epsilon: Greatest profitable change of a value, in units of the value.
    """
    v_clipped = v_old_tm1 + jnp.clip(v_tm1 - v_old_tm1, -epsilon, epsilon)
    target = jax.lax.stop_gradient(return_t)
    return jnp.maximum(squared(v_tm1 - target), squared(v_clipped - target))
