"""Policies over recurrent networks."""

import dataclasses
from functools import partial
from typing import Any

from ..envs.specs import Spec
from ..envs.types import Array, PolicyStep, TimeStep, Tree, split_action_mask
from ..networks import recurrent
from ..networks.distributions import Categorical
from ..networks.normalizer import normalize_observation
from .actor_policy import ActorPolicy
from .schedule import Schedule, value_at


@dataclasses.dataclass(frozen=True, eq=False)
class RecurrentQPolicy:
    """`QPolicy` with memory: its state is the network's carry, which begins anew at every FIRST
    time step.

    Args:
      network: maps (observations `[..., T, *shape]`, resets `[..., T]`, carry) to (values
        `[..., T, num_actions]`, carry).
      temperature: as in `QPolicy`.
      store_carry: put the carry that a row starts with into its policy info, as `"carry"`.
    """

    network: Any
    temperature: float | Schedule = 1.0
    store_carry: bool = False

    def initial_state(self, batch_shape: tuple[int, ...] = ()) -> Tree:
        return self.network.initial_carry(batch_shape)

    def distribution(self, params: Tree, time_step: TimeStep, state: Tree = ()) -> PolicyStep:
        observation, mask = split_action_mask(time_step.observation)
        apply = partial(self.network.apply, params["params"]["q"])
        values, carry = recurrent.step(apply, observation, time_step.is_first(), state)
        distribution = Categorical(values / value_at(self.temperature, params["step"]), mask)
        return PolicyStep(distribution, carry, {"carry": state} if self.store_carry else ())

    def action(
        self, params: Tree, time_step: TimeStep, state: Tree = (), key: Array | None = None
    ) -> PolicyStep:
        step = self.distribution(params, time_step, state)
        return step._replace(action=step.action.sample(key))


@dataclasses.dataclass(frozen=True, eq=False)
class RecurrentActorPolicy(ActorPolicy):
    """`ActorPolicy` with memory: its state is the network's carry, which begins anew at every FIRST
    time step.

    With `info` each row stores the carry that it starts with, too, as `"carry"`. The network maps
    (observations `[..., T, *shape]`, resets `[..., T]`, carry) to (a distribution, or a tuple that
    starts with one, carry).
    """

    @property
    def info_spec(self) -> dict[str, Spec]:
        """The spec of what is stored with each row."""
        return (
            {**super().info_spec, "carry": recurrent.carry_spec(self.network)} if self.info else {}
        )

    def initial_state(self, batch_shape: tuple[int, ...] = ()) -> Tree:
        return self.network.initial_carry(batch_shape)

    def distribution(self, params: Tree, time_step: TimeStep, state: Tree = ()) -> PolicyStep:
        observation = normalize_observation(params, time_step.observation)
        apply = partial(self.network.apply, params["params"][self.role])
        outputs, carry = recurrent.step(apply, observation, time_step.is_first(), state)
        return PolicyStep(outputs[0] if isinstance(outputs, tuple) else outputs, carry)

    def action(
        self, params: Tree, time_step: TimeStep, state: Tree = (), key: Array | None = None
    ) -> PolicyStep:
        step = super().action(params, time_step, state, key)
        return step._replace(info={**step.info, "carry": state}) if self.info else step
