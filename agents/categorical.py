"""C51: distributional Q-learning on a fixed support (Bellemare et al. 2017)."""

import dataclasses

import jax
import jax.numpy as jnp

from ..envs.types import Array
from . import losses
from .value_based import ValueBasedAgent, ValueExample


@dataclasses.dataclass(frozen=True, eq=False)
class CategoricalDqnAgent(ValueBasedAgent):
    """Learns the distribution of the return over K evenly spaced atoms from `v_min` to `v_max`.

    The loss is the cross-entropy to the projected distribution of R + discount x Z_target(o', a*),
    where a* has the greatest mean, or with `double` the greatest by the network itself, as in
    Rainbow (Hessel et al. 2018). It is also `per_example["td_error"]`, so that it sets the
    priorities of replay, as Rainbow's does. Rainbow is this agent with `double` and `n_step`, a
    network `QNetwork(dueling=True, num_atoms=51, noisy_sigma=0.5)` and prioritised replay.

    Args:
      specs, optimizer, gamma, n_step, double, epsilon, target_update: See `DqnAgent`.
      network: Network from observations `[..., *shape]` to logits `[..., num_actions, K]`:
        `QNetwork(num_atoms=51)`.
      v_min: Smallest return represented, in units of reward.
      v_max: Greatest return represented.

    Raises:
      TypeError, ValueError: See `DqnAgent`; also if not v_min < v_max.
    """

    v_min: float = dataclasses.field(kw_only=True)
    v_max: float = dataclasses.field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        numbers = all(isinstance(bound, int | float) for bound in (self.v_min, self.v_max))
        if numbers and not self.v_min < self.v_max:
            raise ValueError(
                "CategoricalDqnAgent: expected v_min < v_max, "
                f"got v_min={self.v_min} and v_max={self.v_max}"
            )

    @property
    def output_shape(self) -> tuple[int | None, ...]:
        """The shape of the network's output for one observation, `(num_actions, None)`."""
        return (self.specs.action.num_values, None)

    def values(self, outputs: Array) -> Array:
        """The means `[..., A]` of the distributions with logits `[..., A, K]`."""
        return jax.nn.softmax(outputs) @ self._atoms(outputs)

    def example_loss(self, example: ValueExample) -> tuple[Array, Array]:
        """The cross-entropy of one transition, which is also its priority."""
        atoms = self._atoms(example.outputs_tm1)
        loss = losses.categorical_double_q_learning(
            atoms,
            example.outputs_tm1,
            example.a_tm1,
            example.r_t,
            example.discount_t,
            atoms,
            example.outputs_t,
            example.selector_t,
            example.mask_t,
        )
        return loss, loss

    def _atoms(self, outputs: Array) -> Array:
        return jnp.linspace(self.v_min, self.v_max, outputs.shape[-1], dtype=jnp.float32)
