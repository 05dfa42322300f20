"""Deep Q-learning (Mnih et al. 2015), with double Q-learning and n-step returns as options."""

import dataclasses
from collections.abc import Callable

from ..envs.types import Array
from . import losses
from .value_based import ValueBasedAgent


@dataclasses.dataclass(frozen=True, eq=False)
class DqnAgent(ValueBasedAgent):
    """Learns action values Q(o, a) from replayed windows of n + 1 rows.

    The target is the n-step one, R + discount x max_a Q_target(o', a) (double: the action that Q
    itself finds best; van Hasselt et al. 2016). Windows that begin on a boundary row count nothing.
    Action masks in observations hold when acting and in targets alike. What else the literature
    adds are options of other parts, and combine: dueling and noisy networks are options of
    `networks.QNetwork`, prioritised replay is one of the replay buffers and of
    `learners.OffPolicyScan`.

    Args:
      specs: the environment's; the action must be one `DiscreteSpec` with a single factor.
      network: maps observations `[..., *shape]` (without their action mask) to values
        `[..., num_actions]`.
      optimizer: an optax transformation.
      gamma: discount factor per step; may be traced.
      n_step: steps n of a return.
      double: double Q-learning.
      epsilon: probability of a random action when collecting; a float, or a schedule of the update
        count.
      target_update: how the target network follows: `periodic(n)` or `polyak(tau)`.
      td_loss: maps TD errors to losses, elementwise: `losses.huber` or `losses.squared`.

    Raises:
      ValueError: if the action spec or the network's output does not fit, n_step < 1, or gamma is
        outside 0..1.
    """

    td_loss: Callable[[Array], Array] = losses.huber

    def example_loss(
        self,
        outputs_tm1: Array,
        a_tm1: Array,
        r_t: Array,
        discount_t: Array,
        outputs_t: Array,
        q_t_selector: Array,
        mask_t: Array | None,
    ) -> tuple[Array, Array]:
        td_error = losses.double_q_learning(
            outputs_tm1, a_tm1, r_t, discount_t, outputs_t, q_t_selector, mask_t
        )
        return self.td_loss(td_error), td_error
