"""The policy over a Q-network's action values."""

import dataclasses
from collections.abc import Callable
from typing import Any

from ..envs.types import Array, PolicyStep, TimeStep, Tree, split_action_mask
from ..networks.distributions import Categorical
from ..networks.noisy import apply_network
from .schedule import Schedule, value_at


@dataclasses.dataclass(frozen=True, eq=False)
class QPolicy:
    """Draws actions with probabilities softmax(Q / temperature), the Boltzmann policy (Sutton and
    Barto, section 2.8).

    A mask in the observation (`split_action_mask`) forbids actions. Wrap it in `GreedyPolicy` or
    `EpsilonGreedyPolicy`.

    Args:
      network: maps observations `[..., *shape]` to action values `[..., num_actions]`.
      temperature: in units of the values; a float, or a schedule of the update count.
      values: maps the network's outputs to values `[..., num_actions]`, where they are something
        else; None: they are values.
    """

    network: Any
    temperature: float | Schedule = 1.0
    values: Callable[[Array], Array] | None = None

    def initial_state(self, batch_shape: tuple[int, ...] = ()) -> Tree:
        return ()

    def q_values(self, params: Tree, observation: Tree) -> Array:
        """The values `[..., num_actions]` of the actions; forbidden ones included."""
        observation, _ = split_action_mask(observation)
        outputs = apply_network(
            self.network, params["params"]["q"], observation, params.get("noise")
        )
        return outputs if self.values is None else self.values(outputs)

    def distribution(self, params: Tree, time_step: TimeStep, state: Tree = ()) -> PolicyStep:
        _, mask = split_action_mask(time_step.observation)
        values = self.q_values(params, time_step.observation)
        return PolicyStep(
            Categorical(values / value_at(self.temperature, params["step"]), mask), state
        )

    def action(
        self, params: Tree, time_step: TimeStep, state: Tree = (), key: Array | None = None
    ) -> PolicyStep:
        step = self.distribution(params, time_step, state)
        return step._replace(action=step.action.sample(key))
