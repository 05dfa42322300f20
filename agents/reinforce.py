"""REINFORCE (Williams 1992), with or without a baseline."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp

from ..envs.types import Array, StepType, Trajectory, Tree
from ..policies.schedule import value_at
from . import losses, returns
from .agent import LossInfo, TrainState
from .checks import check_parts
from .on_policy import (
    Examples,
    OnPolicyAgent,
    check_actor_value,
    check_prepared,
    estimate,
    standardize,
    total,
)
from .reductions import split_bootstrap


@dataclasses.dataclass(frozen=True, eq=False)
class ReinforceAgent(OnPolicyAgent):
    """Raises the log-probability of actions by the return that followed, summed over steps and
    averaged over episodes.

    If the network gives values (`networks.ActorValueNetwork`) they are the baseline, are fitted to
    the returns, and stand for what follows a time limit or the end of the rows. If it gives a
    distribution only (`networks.ActorNetwork`) returns end with the episode, at a time limit too;
    the rows of an episode whose end is not among the rows given are left out, so give enough rows
    for whole episodes. The arguments of `OnPolicyAgent` come first.

    Args:
      normalize_returns: standardise the returns, less the baseline, over each batch.
      value_coefficient: weight of the baseline's squared error, which has no half; without a
        baseline nothing.
    """

    normalize_returns: bool = True
    value_coefficient: float | Array = 0.5

    def __post_init__(self):
        check_parts(self)
        check_actor_value("ReinforceAgent", self.network, self.specs, value=False)

    def prepare(
        self, state: TrainState, experience: Trajectory, *, shards: str | None = None
    ) -> tuple[TrainState, Examples]:
        state, rows = self.normalized(state, experience, shards)
        steps, mask = split_bootstrap(rows)
        ends = steps.next_step_type == StepType.LAST
        if (
            jax.eval_shape(self.apply, state.params, rows.observation, self.memory(rows))[1]
            is not None
        ):
            batch = estimate(self, state.params, rows, 1.0)
            # An episode is counted where it ends, or where the rows do, unless they end on the
            # boundary after one.
            episodes = jnp.asarray(ends).at[:, -1].set(mask[:, -1] > 0)
        else:
            finished = jnp.cumsum(ends[:, ::-1], axis=1)[:, ::-1] > 0
            discount = jnp.where(ends, 0.0, self.gamma * steps.discount)
            gains = jax.vmap(returns.discounted_returns)(steps.reward, discount)
            zeros = jnp.zeros_like(gains)
            log_prob = steps.policy_info["log_prob"]
            batch = Examples(
                steps.observation,
                steps.action,
                log_prob,
                gains,
                gains,
                zeros,
                mask * finished,
                memory=self.memory(steps),
            )
            batch = self.flatten_time(batch)
            episodes = ends
        if self.normalize_returns:
            batch = batch._replace(advantage=standardize(batch.advantage, batch.weight, shards))
        # The loss divides by the number of examples, so that of episodes is made up for in the
        # weights.
        scale = total(jnp.ones_like(mask), shards) / jnp.maximum(
            total(episodes.astype(jnp.float32), shards), 1.0
        )
        return state, batch._replace(weight=batch.weight * scale)

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
        entropy = mean(distribution.entropy())
        loss = policy_loss - value_at(self.entropy_coefficient, state.step) * entropy
        metrics = {"policy_loss": policy_loss, "entropy": entropy}
        if value is not None:
            metrics["value_loss"] = mean(losses.squared(value - experience.target))
            loss += self.value_coefficient * metrics["value_loss"]
        return LossInfo(loss, metrics, {})
