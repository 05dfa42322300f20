"""The policy over a Q-network's action values."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

from ..envs.types import Array, PolicyStep, TimeStep, Tree, split_action_mask
from ..networks import recurrent
from ..networks.distributions import Categorical
from ..networks.noisy import apply_network
from .schedule import Schedule, value_at


@dataclasses.dataclass(frozen=True, eq=False)
class QPolicy:
    """Draws actions with probabilities softmax(Q / temperature), the Boltzmann policy.

    See Sutton and Barto 2018, section 2.8. A mask in the observation (`split_action_mask`) forbids
    actions. Wrap it in `GreedyPolicy` or `EpsilonGreedyPolicy`. Of a recurrent network the policy's
    state is the carry, which is reset at every FIRST time step.

    Args:
      network: Network from observations `[..., *shape]` to action values `[..., num_actions]`; or
        with memory from (observations `[..., T, *shape]`, resets `[..., T]`, carry) to (values
        `[..., T, num_actions]`, carry).
      temperature: Temperature in units of the values; a float, or a schedule of the update count.
      values: Function from the network's outputs to values `[..., num_actions]`; None if they are
        values.
      store_carry: Store the carry that a row starts with in its policy info, as `"carry"`.
    """

    network: Any
    temperature: float | Schedule = 1.0
    values: Callable[[Array], Array] | None = None
    store_carry: bool = False

    def initial_state(self, batch_shape: tuple[int, ...] = ()) -> Tree:
        """The network's first carry; () without memory."""
        return recurrent.initial_state(self.network, batch_shape)

    def q_values(self, params: Tree, observation: Tree) -> Array:
        """The values `[..., num_actions]` of a network without memory, forbidden actions included.

        `"noise"` in the parameters gives noisy layers their keys.
        """
        inputs, _ = split_action_mask(observation)
        variables = params["params"]["q"]
        outputs = apply_network(self.network, variables, inputs, params.get("noise"))
        return outputs if self.values is None else self.values(outputs)

    def distribution(self, params: Tree, time_step: TimeStep, state: Tree = ()) -> PolicyStep:
        """The `Categorical` distribution over the allowed actions."""
        inputs, mask = split_action_mask(time_step.observation)
        info = {"carry": state} if self.store_carry else ()
        if recurrent.is_recurrent(self.network):
            apply = partial(self.network.apply, params["params"]["q"])
            outputs, state = recurrent.step(apply, inputs, time_step.is_first(), state)
            values = outputs if self.values is None else self.values(outputs)
        else:
            values = self.q_values(params, time_step.observation)
        temperature = value_at(self.temperature, params["step"])
        return PolicyStep(Categorical(values / temperature, mask), state, info)

    def action(
        self, params: Tree, time_step: TimeStep, state: Tree = (), key: Array | None = None
    ) -> PolicyStep:
        """Draws an action."""
        step = self.distribution(params, time_step, state)
        return step._replace(action=step.action.sample(key))
