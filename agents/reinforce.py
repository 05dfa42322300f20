"""REINFORCE (Williams 1992), with or without a baseline."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from ..envs.types import StepType, Trajectory
from . import returns
from .agent import TrainState
from .examples import Examples, standardize, total
from .on_policy import OnPolicyAgent
from .reductions import split_bootstrap


@dataclasses.dataclass(frozen=True, eq=False)
class ReinforceAgent(OnPolicyAgent):
    """Raises the log-probability of actions by the return that followed them.

    The losses of the policy and of the values are those of `OnPolicyAgent`, with the return in
    place of the advantage, summed over the steps of an episode and averaged over episodes, as
    TF-Agents has them. The entropy bonus is no such sum but a mean over steps, so that a
    coefficient means the same as in other agents, in papers and in TF-Agents. Metrics are means
    over steps.

    If the network gives values (`networks.ActorValueNetwork`), they are the baseline, are fitted to
    the returns, and stand for the rest of an episode at a time limit or at the end of the rows. If
    it gives a distribution only (`networks.ActorNetwork`), returns end with the episode, at a time
    limit too, and the rows of an episode that does not end among the given rows are left out; so
    give enough rows for whole episodes. The arguments of `OnPolicyAgent` come first.

    Args:
      normalize_returns: True to standardise the returns, less the baseline, over each batch.
    """

    normalize_returns: bool = True

    needs_value: ClassVar[bool] = False

    def prepare(
        self, state: TrainState, experience: Trajectory, *, shards: str | None = None
    ) -> tuple[TrainState, Examples]:
        """Turns rows into examples with returns as advantages; see `OnPolicyAgent.prepare`."""
        state, rows = self.normalized(state, experience, shards)
        steps, mask = split_bootstrap(rows)
        ends = steps.next_step_type == StepType.LAST
        values = jax.eval_shape(self.apply, state.params, rows.observation, self.memory(rows))[1]
        if values is not None:
            batch = self.gae_examples(state.params, rows, 1.0)
            # An episode counts where it ends, or where the rows do, unless they end on the boundary
            # after one.
            episodes = jnp.asarray(ends).at[:, -1].set(mask[:, -1] > 0)
        else:
            finished = jnp.cumsum(ends[:, ::-1], axis=1)[:, ::-1] > 0
            discount = jnp.where(ends, 0.0, self.gamma * steps.discount)
            gains = jax.vmap(returns.discounted_returns)(steps.reward, discount)
            batch = Examples(
                observation=steps.observation,
                action=steps.action,
                log_prob=steps.policy_info["log_prob"],
                advantage=gains,
                target=gains,
                value=jnp.zeros_like(gains),
                weight=mask * finished,
                memory=self.memory(steps),
            )
            batch = self.flatten_time(batch)
            episodes = ends
        if self.normalize_returns:
            advantage = standardize(batch.advantage, batch.weight, shards)
            batch = batch._replace(advantage=advantage)
        # The loss divides by the number of examples; the weights make it a mean over episodes.
        num_episodes = jnp.maximum(total(episodes.astype(jnp.float32), shards), 1.0)
        scale = total(jnp.ones_like(mask), shards) / num_episodes
        num_steps = total((batch.weight > 0).astype(jnp.float32), shards)
        length = jnp.full(batch.weight.shape[0], jnp.maximum(num_steps / num_episodes, 1.0))
        return state, batch._replace(weight=batch.weight * scale, episode_length=length)
