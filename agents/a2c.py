"""Advantage actor-critic, the synchronous form of A3C (Mnih et al. 2016)."""

import dataclasses
from functools import partial

from ..envs.types import Array, Trajectory, Tree
from . import losses
from .agent import LossInfo, Shards, TrainState
from .examples import Examples
from .on_policy import OnPolicyAgent


@dataclasses.dataclass(frozen=True, eq=False)
class A2cAgent(OnPolicyAgent):
    """Takes one gradient step on each batch of rows.

    The loss is -log pi(a) x advantage + value_coefficient x (V - target)^2 - entropy_coefficient x
    entropy. The arguments of `OnPolicyAgent` come first.

    Args:
      lambda_: Decay of the trace of the advantage estimates (Schulman et al. 2016); 1 is the
        paper's n-step return.
    """

    lambda_: float | Array = 1.0

    def prepare(
        self, state: TrainState, experience: Trajectory, *, shards: str | None = None
    ) -> tuple[TrainState, Examples]:
        """Turns rows into examples with advantage estimates; see `OnPolicyAgent.prepare`."""
        state, rows = self.normalized(state, experience, shards)
        return state, self.gae_examples(state.params, rows, self.lambda_)

    def loss(
        self,
        params: Tree,
        state: TrainState,
        experience: Examples,
        key: Array,
        weights: Array | None = None,
        *,
        shards: Shards | None = None,
    ) -> LossInfo:
        """The loss on examples `[N, ...]` from `prepare`, with `weights` `[N]`."""
        distribution, value = self.apply(params, experience.observation, experience.memory)
        mean = partial(experience.mean, weights=weights)
        log_prob = distribution.log_prob(experience.action)
        policy_loss = mean(losses.policy_gradient(log_prob, experience.advantage))
        value_loss = None
        if value is not None:
            value_loss = mean(losses.squared(value - experience.target))
        return self.total_loss(state, policy_loss, value_loss, mean(distribution.entropy()), {})
