"""Losses as mathematics: pure functions of one transition, to be vmapped over a batch by the
caller.

Names are rlax's: `x_tm1` belongs to the time step where the action was taken, `x_t` to the one that
followed, and `discount_t` is gamma times the environment's discount (over n steps:
`Transition.discount`). Networks have been applied already. Targets carry no gradient. Shapes are
those of a single transition, with A actions, K atoms or quantiles and N critics. Weighting by
importance and masking by `Transition.mask` are the caller's.
"""

import jax
import jax.numpy as jnp

from ..envs.types import Array

_FORBIDDEN = -1e30  # finite, so that differences are not NaN


def squared(x: Array) -> Array:
    """x^2, without the half (TF-Agents' `element_wise_squared_loss`; rlax's `l2_loss` is 0.5 x^2).
    Any shape.
    """
    return jnp.square(x)


def huber(x: Array, delta: Array | float = 1.0) -> Array:
    """0.5 x^2 for |x| <= delta, and delta (|x| - 0.5 delta) beyond (Huber 1964): a gradient of at
    most delta. Any shape.
    """
    magnitude = jnp.abs(x)
    inside = jnp.minimum(magnitude, delta)
    return 0.5 * inside**2 + delta * (magnitude - inside)


def index(values: Array, action: Array) -> Array:
    """The entry `values[action]` of `[A, ...]`, as a masked sum: its gradient is no scatter, which
    CPUs are slow at.
    """
    chosen = jnp.arange(values.shape[0]) == action
    return jnp.sum(jnp.where(chosen.reshape((-1,) + (1,) * (values.ndim - 1)), values, 0), axis=0)


def greedy(q: Array, mask: Array | None = None) -> Array:
    """The allowed action of highest value, of `q` and `mask` `[A]`; a mask that forbids everything
    forbids nothing.

    The observation after an episode's end may forbid everything. At a time limit it is bootstrapped
    from all the same.
    """
    if mask is None:
        return jnp.argmax(q)
    return jnp.argmax(jnp.where(mask.astype(bool) | ~jnp.any(mask), q, _FORBIDDEN))


def td_target(r_t: Array, discount_t: Array, v_t: Array) -> Array:
    """r + discount v, without gradient. Any shapes that broadcast."""
    return jax.lax.stop_gradient(r_t + discount_t * v_t)


def q_learning(
    q_tm1: Array,
    a_tm1: Array,
    r_t: Array,
    discount_t: Array,
    q_t: Array,
    mask_t: Array | None = None,
) -> Array:
    """The Q-learning error r + discount max_a q_t(a) - q_tm1(a_tm1) (Watkins 1989; Mnih et al.
    2015).

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
    """The double Q-learning error (van Hasselt et al. 2016): `q_t_selector` `[A]` chooses the next
    action, by the online network, and `q_t_value` `[A]` values it, by the target network. Otherwise
    as `q_learning`."""
    v_t = index(q_t_value, greedy(q_t_selector, mask_t))
    return td_target(r_t, discount_t, v_t) - index(q_tm1, a_tm1)


def categorical_l2_project(z_p: Array, probs: Array, z_q: Array) -> Array:
    """Projects a distribution on atoms `z_p` onto other atoms `z_q` (Bellemare et al. 2017, eq. 7).

    Each atom's mass is shared by the two neighbours in `z_q` in proportion to nearness; what lies
    outside goes to the ends.

    Args:
      z_p: `[K]` where the mass is.
      probs: `[K]` how much.
      z_q: `[M]`, M >= 2, ascending, evenly spaced or not.

    Returns:
      Mass `[M]` on `z_q`, with the sum and, for atoms inside the range of `z_q`, the mean of the
      original.
    """
    z_p = jnp.clip(z_p, z_q[0], z_q[-1])
    below = jnp.clip(jnp.searchsorted(z_q, z_p, side="right") - 1, 0, len(z_q) - 2)
    above = below + 1
    share = (z_p - z_q[below]) / (
        z_q[above] - z_q[below]
    )  # of the mass that goes to the atom above
    # A scatter: the K x M matrix of all shares takes 1.3 to 4 times as long on a CPU.
    return (
        jnp.zeros_like(z_q, probs.dtype)
        .at[below]
        .add(probs * (1.0 - share))
        .at[above]
        .add(probs * share)
    )


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
    """The C51 loss: cross-entropy to the projected target r + discount z (Bellemare et al. 2017,
    algorithm 1).

    Args:
      q_atoms_tm1: `[K]` the support of the return.
      q_logits_tm1: `[A, K]` logits where the action was taken.
      a_tm1: the action, an integer.
      r_t: the reward.
      discount_t: gamma times the environment's discount.
      q_atoms_t: `[K]` the support at the next observation, usually the same.
      q_logits_t: `[A, K]` logits there, usually the target network's; the action of greatest mean
        is followed.
      mask_t: `[A]` True where an action is allowed there.

    Returns:
      The loss, a scalar. It is not zero at the optimum, where it is the entropy of the target.
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
    """The C51 loss where `q_t_selector` `[A]`, values by the online network, chooses the next
    action, as in Rainbow (Hessel et al. 2018). Otherwise as `categorical_q_learning`."""
    probs_t = jax.nn.softmax(index(q_logits_t, greedy(q_t_selector, mask_t)))
    target = categorical_l2_project(td_target(r_t, discount_t, q_atoms_t), probs_t, q_atoms_tm1)
    return -jnp.sum(jax.lax.stop_gradient(target) * jax.nn.log_softmax(index(q_logits_tm1, a_tm1)))


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
    """The QR-DQN loss: quantile Huber regression on r + discount q_t (Dabney et al. 2018, eq. 10
    and algorithm 1).

    Args:
      dist_q_tm1: `[A, K]` quantile values where the action was taken.
      tau_q_tm1: `[K]` the quantiles that they estimate, (2 i + 1) / (2 K) for QR-DQN, drawn for
        IQN.
      a_tm1: the action, an integer.
      r_t: the reward.
      discount_t: gamma times the environment's discount.
      dist_q_t: `[A, L]` quantile values at the next observation; the action of greatest mean is
        followed.
      mask_t: `[A]` True where an action is allowed there.
      huber_param: kappa of the Huber loss, which is divided by kappa; 0 is plain quantile
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
    """The QR-DQN loss where `q_t_selector` `[A]`, values by the online network, chooses the next
    action. Otherwise as `quantile_q_learning`."""
    target = td_target(r_t, discount_t, index(dist_q_t, greedy(q_t_selector, mask_t)))
    error = target[None, :] - index(dist_q_tm1, a_tm1)[:, None]
    size = huber(error, huber_param) / huber_param if huber_param > 0 else jnp.abs(error)
    weight = jnp.abs(tau_q_tm1[:, None] - (jax.lax.stop_gradient(error) < 0))
    return jnp.sum(jnp.mean(weight * size, axis=-1))


def policy_gradient(log_prob_tm1: Array, advantage_t: Array) -> Array:
    """-log pi(a) x advantage (Williams 1992); the advantage, or return, is held constant. Any
    shape.

    With an advantage of 1 this is behavioural cloning.
    """
    return -log_prob_tm1 * jax.lax.stop_gradient(advantage_t)


def clipped_surrogate(prob_ratio_t: Array, advantage_t: Array, epsilon: Array | float) -> Array:
    """PPO's clipped objective, negated: -min(ratio A, clip(ratio, 1 - epsilon, 1 + epsilon) A)
    (Schulman et al. 2017, eq. 7).

    `prob_ratio_t` is pi(a) / pi_old(a); the advantage is held constant. Any shape.
    """
    advantage = jax.lax.stop_gradient(advantage_t)
    return -jnp.minimum(
        prob_ratio_t * advantage, jnp.clip(prob_ratio_t, 1 - epsilon, 1 + epsilon) * advantage
    )


def kl_penalised_surrogate(
    prob_ratio_t: Array, advantage_t: Array, kl: Array, beta: Array | float
) -> Array:
    """PPO's other objective, negated: -(ratio A - beta KL(pi_old || pi)) (Schulman et al. 2017, eq.
    8). Any shape.
    """
    return -prob_ratio_t * jax.lax.stop_gradient(advantage_t) + beta * kl


def adapt_kl_beta(beta: Array, kl: Array, target: Array | float) -> Array:
    """The next beta of `kl_penalised_surrogate`: halved where the mean KL of an update fell below
    target / 1.5, doubled above 1.5 target (Schulman et al. 2017, section 4)."""
    return jnp.where(kl < target / 1.5, beta / 2.0, jnp.where(kl > target * 1.5, beta * 2.0, beta))


def clipped_value(v_tm1: Array, v_old_tm1: Array, return_t: Array, epsilon: Array | float) -> Array:
    """PPO's clipped value loss, the larger of two squared errors to the return. Any shape.

    One is that of v, the other that of v held within epsilon of its value before the update (OpenAI
    Baselines' ppo2; not in the paper). `epsilon` is in units of the value.
    """
    v_clipped = v_old_tm1 + jnp.clip(v_tm1 - v_old_tm1, -epsilon, epsilon)
    target = jax.lax.stop_gradient(return_t)
    return jnp.maximum(squared(v_tm1 - target), squared(v_clipped - target))


def dpg(q_tm1: Array) -> Array:
    """-q of the actor's own action: the deterministic policy gradient by the chain rule (Silver et
    al. 2014, eq. 9).

    The critic's parameters are held constant by the caller. Any shape.
    """
    return -q_tm1


def smoothed_action(
    a_t: Array, noise: Array, noise_clip: float | Array, minimum: Array, maximum: Array
) -> Array:
    """TD3's target action: a plus noise held within `noise_clip`, then within the bounds (Fujimoto
    et al. 2018, eq. 14).

    Noise and `noise_clip` are in units of the action. Any shapes that broadcast.
    """
    return jnp.clip(a_t + jnp.clip(noise, -noise_clip, noise_clip), minimum, maximum)


def clipped_double_q_target(r_t: Array, discount_t: Array, q_t: Array) -> Array:
    """r + discount min_i q_i over critics `[N]`, without gradient, a scalar (Fujimoto et al. 2018,
    eq. 10).
    """
    return td_target(r_t, discount_t, jnp.min(q_t, axis=0))


def soft_value(q_t: Array, log_prob_t: Array, alpha: Array | float) -> Array:
    """SAC's value of one drawn action: min_i q_i - alpha log pi(a) (Haarnoja et al. 2018b, eq. 3),
    for `td_target`.

    Args:
      q_t: `[N]` the critics' values of the action.
      log_prob_t: its log-probability.
      alpha: the temperature.
    """
    return jnp.min(q_t, axis=0) - alpha * log_prob_t


def sac_actor(q_tm1: Array, log_prob_tm1: Array, alpha: Array) -> Array:
    """SAC's actor loss alpha log pi(a) - min_i q_i, of a reparametrised action (Haarnoja et al.
    2018b, eq. 9).

    Arguments are as in `soft_value`. The temperature is held constant here, the critics' parameters
    by the caller.
    """
    return -soft_value(q_tm1, log_prob_tm1, jax.lax.stop_gradient(alpha))


def sac_temperature(log_alpha: Array, log_prob_tm1: Array, target_entropy: Array | float) -> Array:
    """-alpha (log pi(a) + target entropy) (Haarnoja et al. 2018b, eq. 18): descent raises alpha
    where entropy is too low.

    For discrete SAC, give the negative entropy of pi as the log-probability (Christodoulou 2019,
    eq. 11). Any shape.
    """
    return -jnp.exp(log_alpha) * jax.lax.stop_gradient(log_prob_tm1 + target_entropy)


def discrete_soft_value(q_t: Array, log_probs_t: Array, alpha: Array | float) -> Array:
    """The expectation of `soft_value` over actions: sum_a pi(a) (min_i q_i(a) - alpha log pi(a))
    (Christodoulou 2019, eq. 10).

    Args:
      q_t: `[N, A]` the critics' values.
      log_probs_t: `[A]`; a forbidden action has -inf or any number below -1e9, and counts for
        nothing.
      alpha: the temperature.
    """
    probs = jnp.exp(log_probs_t)
    each = jnp.min(q_t, axis=0) - alpha * jnp.where(probs > 0, log_probs_t, 0.0)
    return jnp.sum(jnp.where(probs > 0, probs * each, 0.0))


def discrete_sac_actor(q_tm1: Array, log_probs_tm1: Array, alpha: Array) -> Array:
    """Discrete SAC's actor loss sum_a pi(a) (alpha log pi(a) - min_i q_i(a)) (Christodoulou 2019,
    eq. 12).

    Arguments are as in `discrete_soft_value`. Critics and temperature are held constant.
    """
    return -discrete_soft_value(
        jax.lax.stop_gradient(q_tm1), log_probs_tm1, jax.lax.stop_gradient(alpha)
    )
