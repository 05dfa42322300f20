"""Losses of agents that learn the distribution of the return of each discrete action."""

import jax
import jax.numpy as jnp

from ...envs.types import Array
from .elementwise import huber, scaled, td_target
from .value_based import greedy, index


def categorical_l2_project(z_p: Array, probs: Array, z_q: Array) -> Array:
    """Projects a distribution on atoms `z_p` onto other atoms `z_q` (Bellemare et al. 2017, eq. 7).

    The two neighbours of an atom in `z_q` share its mass in proportion to nearness; mass outside
    the range of `z_q` goes to its ends.

    Args:
      z_p: Atoms `[K]` of the given distribution.
      probs: Mass `[K]` on each of these atoms.
      z_q: Atoms `[M]` to project onto, with M >= 2, ascending, evenly spaced or not.

    Returns:
      Mass `[M]` on `z_q`, with the sum and, for atoms inside the range of `z_q`, the mean of the
      given distribution.
    """
    z_p = jnp.clip(z_p, z_q[0], z_q[-1])
    below = jnp.clip(jnp.searchsorted(z_q, z_p, side="right") - 1, 0, len(z_q) - 2)
    above = below + 1
    share_above = (z_p - z_q[below]) / (z_q[above] - z_q[below])
    # A scatter: the K x M matrix of all shares takes 1.3 to 4 times as long on a CPU.
    mass = jnp.zeros_like(z_q, probs.dtype).at[below].add(probs * (1.0 - share_above))
    return mass.at[above].add(probs * share_above)


def categorical_q_learning(
    q_atoms_tm1: Array,
    q_logits_tm1: Array,
    a_tm1: Array,
    r_t: Array,
    discount_t: Array,
    q_atoms_t: Array,
    q_logits_t: Array,
    mask_t: Array | None = None,
) -> Array:
    """Returns the C51 loss, the cross-entropy to the projected target r + discount z.

    The next action is the allowed one of the greatest mean (Bellemare et al. 2017, algorithm 1).

    Args:
      q_atoms_tm1: Atoms `[K]` that support the return.
      q_logits_tm1: Logits `[A, K]` at the observation where the action was taken.
      a_tm1: Action taken there, an integer scalar.
      r_t: Reward, a scalar.
      discount_t: Gamma times the environment's discount, a scalar.
      q_atoms_t: Atoms `[K]` that support the return at the next observation, usually the same.
      q_logits_t: Logits `[A, K]` at the next observation, usually the target network's.
      mask_t: Mask `[A]`, True for the actions allowed at the next observation; None allows all.

    Returns:
      The loss, a scalar. It is not zero at the optimum but the entropy of the target.
    """
    mean_t = jax.nn.softmax(q_logits_t) @ q_atoms_t
    return categorical_double_q_learning(
        q_atoms_tm1, q_logits_tm1, a_tm1, r_t, discount_t, q_atoms_t, q_logits_t, mean_t, mask_t
    )


def categorical_double_q_learning(
    q_atoms_tm1: Array,
    q_logits_tm1: Array,
    a_tm1: Array,
    r_t: Array,
    discount_t: Array,
    q_atoms_t: Array,
    q_logits_t: Array,
    q_t_selector: Array,
    mask_t: Array | None = None,
) -> Array:
    """Returns the C51 loss for a next action that other values choose, as in Rainbow.

    Otherwise it is `categorical_q_learning` (Hessel et al. 2018).

    Args:
      q_atoms_tm1: Atoms `[K]` that support the return.
      q_logits_tm1: Logits `[A, K]` at the observation where the action was taken.
      a_tm1: Action taken there, an integer scalar.
      r_t: Reward, a scalar.
      discount_t: Gamma times the environment's discount, a scalar.
      q_atoms_t: Atoms `[K]` that support the return at the next observation, usually the same.
      q_logits_t: Logits `[A, K]` at the next observation, usually the target network's.
      q_t_selector: Action values `[A]` there that choose the next action, by the online network.
      mask_t: Mask `[A]`, True for the actions allowed at the next observation; None allows all.

    Returns:
      The loss, a scalar.
    """
    probs_t = jax.nn.softmax(index(q_logits_t, greedy(q_t_selector, mask_t)))
    # After the end of a task all atoms of the target are the reward, whatever their logits.
    unread = (discount_t == 0) & jnp.isnan(probs_t)
    probs_t = jnp.where(unread, 1.0 / probs_t.shape[-1], probs_t)
    target = categorical_l2_project(td_target(r_t, discount_t, q_atoms_t), probs_t, q_atoms_tm1)
    log_probs_tm1 = jax.nn.log_softmax(index(q_logits_tm1, a_tm1))
    return -jnp.sum(scaled(jax.lax.stop_gradient(target), log_probs_tm1))


def quantile_q_learning(
    dist_q_tm1: Array,
    tau_q_tm1: Array,
    a_tm1: Array,
    r_t: Array,
    discount_t: Array,
    dist_q_t: Array,
    mask_t: Array | None = None,
    huber_param: float = 1.0,
) -> Array:
    """Returns the QR-DQN loss, quantile Huber regression on r + discount q_t.

    The next action is the allowed one of the greatest mean (Dabney et al. 2018, eq. 10 and
    algorithm 1).

    Args:
      dist_q_tm1: Quantile values `[A, K]` at the observation where the action was taken.
      tau_q_tm1: Quantiles `[K]` that they estimate: (2 i + 1) / (2 K) for QR-DQN, drawn for IQN.
      a_tm1: Action taken there, an integer scalar.
      r_t: Reward, a scalar.
      discount_t: Gamma times the environment's discount, a scalar.
      dist_q_t: Quantile values `[A, L]` at the next observation, usually the target network's.
      mask_t: Mask `[A]`, True for the actions allowed at the next observation; None allows all.
      huber_param: Kappa of the Huber loss, which is divided by kappa; 0 is plain quantile
        regression.

    Returns:
      The loss, a scalar: the sum over K estimates of the mean over L targets.
    """
    mean_t = jnp.mean(dist_q_t, axis=-1)
    return quantile_double_q_learning(
        dist_q_tm1, tau_q_tm1, a_tm1, r_t, discount_t, dist_q_t, mean_t, mask_t, huber_param
    )


def quantile_double_q_learning(
    dist_q_tm1: Array,
    tau_q_tm1: Array,
    a_tm1: Array,
    r_t: Array,
    discount_t: Array,
    dist_q_t: Array,
    q_t_selector: Array,
    mask_t: Array | None = None,
    huber_param: float = 1.0,
) -> Array:
    """Returns the QR-DQN loss for a next action that other values choose.

    Otherwise it is `quantile_q_learning`.

    Args:
      dist_q_tm1: Quantile values `[A, K]` at the observation where the action was taken.
      tau_q_tm1: Quantiles `[K]` that they estimate: (2 i + 1) / (2 K) for QR-DQN, drawn for IQN.
      a_tm1: Action taken there, an integer scalar.
      r_t: Reward, a scalar.
      discount_t: Gamma times the environment's discount, a scalar.
      dist_q_t: Quantile values `[A, L]` at the next observation, usually the target network's.
      q_t_selector: Action values `[A]` there that choose the next action, by the online network.
      mask_t: Mask `[A]`, True for the actions allowed at the next observation; None allows all.
      huber_param: Kappa of the Huber loss, which is divided by kappa; 0 is plain quantile
        regression.

    Returns:
      The loss, a scalar: the sum over K estimates of the mean over L targets.
    """
    target = td_target(r_t, discount_t, index(dist_q_t, greedy(q_t_selector, mask_t)))
    error = target[None, :] - index(dist_q_tm1, a_tm1)[:, None]
    size = huber(error, huber_param) / huber_param if huber_param > 0 else jnp.abs(error)
    weight = jnp.abs(tau_q_tm1[:, None] - (jax.lax.stop_gradient(error) < 0))
    return jnp.sum(jnp.mean(weight * size, axis=-1))
