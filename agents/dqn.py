"""Deep Q-learning (Mnih et al. 2015), with double Q-learning and n-step returns as options."""

import dataclasses
from collections.abc import Callable

from ..envs.types import Array
from . import losses
from .value_based import ValueBasedAgent, ValueExample


@dataclasses.dataclass(frozen=True, eq=False)
class DqnAgent(ValueBasedAgent):
    """Learns action values Q(o, a) from replayed windows of n + 1 rows.

    The target is the n-step one, R + discount x max_a Q_target(o', a), or with `double` the value
    of the action that Q itself finds best (van Hasselt et al. 2016). Windows that begin on a
    boundary row do not count. Action masks in observations hold when acting and in targets alike.
    The literature's other additions are options of other parts, and combine: dueling and noisy
    networks of `networks.QNetwork`, prioritised replay of the replay buffers and of
    `learners.OffPolicyScan`.

    Args:
      specs: Specs of the environment; the action must be one `DiscreteSpec` with a single factor.
      network: Network from observations `[..., *shape]` (without their action mask) to values
        `[..., num_actions]`.
      optimizer: An optax transformation.
      gamma: Discount factor per step; may be traced.
      n_step: Number of steps n of a return.
      double: True for double Q-learning.
      epsilon: Probability of a random action when collecting; a float, or a schedule of the update
        count.
      target_update: Function that moves the target network: `periodic(n)` or `polyak(tau)`.
      td_loss: Function from TD errors to losses, elementwise: `losses.huber` or `losses.squared`.

    Raises:
      TypeError: if `specs`, the optimizer or a function is of another kind.
      ValueError: if the action spec or the network's output does not fit, n_step < 1, or gamma or
        epsilon is outside 0..1.
    """

    td_loss: Callable[[Array], Array] = losses.huber

    def example_loss(self, example: ValueExample) -> tuple[Array, Array]:
        """The loss of one transition and its TD error, which sets its priority."""
        td_error = losses.double_q_learning(
            example.outputs_tm1,
            example.a_tm1,
            example.r_t,
            example.discount_t,
            example.outputs_t,
            example.selector_t,
            example.mask_t,
        )
        return self.td_loss(td_error), td_error
