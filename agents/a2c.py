"""Advantage actor-critic, the synchronous form of A3C (Mnih et al. 2016)."""

import dataclasses
from functools import partial

from ..envs.types import Array, Trajectory, Tree
from ..policies.schedule import value_at
from . import losses
from .agent import LossInfo, TrainState
from .on_policy import Examples, OnPolicyAgent, check_prepared, estimate


@dataclasses.dataclass(frozen=True, eq=False)
class A2cAgent(OnPolicyAgent):
    """Takes one gradient step on each batch of rows.

    The loss is -log pi(a) x advantage + value_coefficient x (V - target)^2 - entropy_coefficient x
    entropy. The arguments of `OnPolicyAgent` come first.

    Args:
      lambda_: of the advantage estimates (Schulman et al. 2016); 1 is the paper's n-step return.
      value_coefficient: weight of the squared error, which has no half.
    """

    lambda_: float | Array = 1.0
    value_coefficient: float | Array = 0.5

    def prepare(
        self, state: TrainState, experience: Trajectory, *, shards: str | None = None
    ) -> tuple[TrainState, Examples]:
        state, rows = self.normalized(state, experience, shards)
        return state, estimate(self, state.params, rows, self.lambda_)

    def loss(
        self,
        params: Tree,
        state: TrainState,
        experience: Examples,
        key: Array,
        weights: Array | None = None,
    ) -> LossInfo:
        check_prepared(experience)
        distribution, value = self.apply(params, experience.observation, experience.memory)
        mean = partial(experience.mean, weights=weights)
        policy_loss = mean(
            losses.policy_gradient(distribution.log_prob(experience.action), experience.advantage)
        )
        value_loss, entropy = (
            mean(losses.squared(value - experience.target)),
            mean(distribution.entropy()),
        )
        loss = (
            policy_loss
            + self.value_coefficient * value_loss
            - value_at(self.entropy_coefficient, state.step) * entropy
        )
        return LossInfo(
            loss, {"policy_loss": policy_loss, "value_loss": value_loss, "entropy": entropy}, {}
        )
