"""Losses as pure functions of one transition, which the caller maps over a batch with `vmap`.

Names are rlax's: `x_tm1` belongs to the time step where the action was taken, `x_t` to the one that
followed, and `discount_t` is gamma times the environment's discount (over n steps:
`Transition.discount`). Networks have been applied already. Targets carry no gradient. Shapes are
those of a single transition, with A actions, K atoms or quantiles and N critics. The caller weights
by importance and masks by `Transition.mask`.
"""

from .actor_critic import (
    clipped_double_q_target,
    discrete_sac_actor,
    discrete_soft_value,
    dpg,
    sac_actor,
    sac_temperature,
    smoothed_action,
    soft_value,
)
from .distributional import (
    categorical_double_q_learning,
    categorical_l2_project,
    categorical_q_learning,
    quantile_double_q_learning,
    quantile_q_learning,
)
from .elementwise import huber, scaled, squared, td_target
from .policy_gradient import (
    adapt_kl_beta,
    clipped_surrogate,
    clipped_value,
    kl_penalised_surrogate,
    policy_gradient,
)
from .value_based import double_q_learning, greedy, index, q_learning

__all__ = [
    "adapt_kl_beta",
    "categorical_double_q_learning",
    "categorical_l2_project",
    "categorical_q_learning",
    "clipped_double_q_target",
    "clipped_surrogate",
    "clipped_value",
    "discrete_sac_actor",
    "discrete_soft_value",
    "double_q_learning",
    "dpg",
    "greedy",
    "huber",
    "index",
    "kl_penalised_surrogate",
    "policy_gradient",
    "q_learning",
    "quantile_double_q_learning",
    "quantile_q_learning",
    "sac_actor",
    "sac_temperature",
    "scaled",
    "smoothed_action",
    "soft_value",
    "squared",
    "td_target",
]
