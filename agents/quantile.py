"""QR-DQN: distributional Q-learning by quantile regression (Dabney et al. 2018)."""

import dataclasses

import jax.numpy as jnp

from ..envs.types import Array
from . import losses
from .value_based import ValueBasedAgent, ValueExample


@dataclasses.dataclass(frozen=True, eq=False)
class QrDqnAgent(ValueBasedAgent):
    """Learns K quantiles of the return, at (2 i + 1) / (2 K); an action's value is their mean.

    The loss is the quantile Huber loss on R + discount x each quantile of (o', a*), where a* has
    the greatest mean, or with `double` the greatest by the network itself. It is also
    `per_example["td_error"]`, for prioritised replay.

    Args:
      specs, optimizer, gamma, n_step, double, epsilon, target_update: See `DqnAgent`.
      network: Network from observations `[..., *shape]` to quantiles `[..., num_actions, K]`:
        `QNetwork(num_atoms=200)`.
      huber_param: Error kappa at which the Huber loss turns linear; 0 is plain quantile regression.

    Raises:
      TypeError, ValueError: See `DqnAgent`; also if huber_param < 0.
    """

    huber_param: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.huber_param < 0:
            raise ValueError(f"QrDqnAgent: expected huber_param >= 0, got {self.huber_param}")

    @property
    def output_shape(self) -> tuple[int | None, ...]:
        """The shape of the network's output for one observation, `(num_actions, None)`."""
        return (self.specs.action.num_values, None)

    def values(self, outputs: Array) -> Array:
        """The means `[..., A]` of quantiles `[..., A, K]`."""
        return outputs.mean(axis=-1)

    def example_loss(self, example: ValueExample) -> tuple[Array, Array]:
        """The quantile Huber loss of one transition, which is also its priority."""
        num_quantiles = example.outputs_tm1.shape[-1]
        loss = losses.quantile_double_q_learning(
            example.outputs_tm1,
            (2 * jnp.arange(num_quantiles, dtype=jnp.float32) + 1) / (2 * num_quantiles),
            example.a_tm1,
            example.r_t,
            example.discount_t,
            example.outputs_t,
            example.selector_t,
            example.mask_t,
            self.huber_param,
        )
        return loss, loss
