"""IMPALA: an actor-critic whose V-trace targets correct for actors that lag behind (Espeholt et al. 2018)."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp

from ..envs.types import Array, Trajectory, Tree
from ..policies.q_policy import value_at
from . import losses, returns
from .agent import LossInfo, TrainState, weighted_mean
from .on_policy import OnPolicyAgent
from .reductions import split_bootstrap, trace_lambda


@dataclasses.dataclass(frozen=True, eq=False)
class ImpalaAgent(OnPolicyAgent):
    """Learns from rows of somewhat older policies, whose log-probabilities were stored with the rows.

    The loss is -log pi(a) x V-trace advantage + value_coefficient x (V - V-trace target)^2 - entropy_coefficient x entropy, a
    mean over rows. Examples are whole sequences `[N, T + 1]`, since targets are of the current network. The arguments of
    `OnPolicyAgent` come first.

    Args:
      lambda_: scales the trace; 1 is the paper's.
      clip_rho: the paper's rho-bar, for targets and for advantages.
      clip_c: the paper's c-bar.
      value_coefficient: weight of the squared error, which has no half.
    """

    lambda_: float | Array = 1.0
    clip_rho: float = 1.0
    clip_c: float = 1.0
    value_coefficient: float | Array = 0.5

    def prepare(
        self, state: TrainState, experience: Trajectory, *, axis_name: str | None = None
    ) -> tuple[TrainState, Trajectory]:
        """The rows `[B, T + 1, ...]` themselves, normalised."""
        return self.normalized(state, experience, axis_name)

    def loss(
        self, params: Tree, state: TrainState, experience: Trajectory, key: Array, weights: Array | None = None
    ) -> LossInfo:
        """The loss on rows `[B, T + 1, ...]` from `prepare`; `weights` `[B]`."""
        distribution, values = self.apply(params, experience.observation, self.memory(experience))
        distribution = jax.tree.map(lambda x: x[:, :-1], distribution)
        steps, mask = split_bootstrap(experience)
        log_prob = distribution.log_prob(steps.action)
        ratio = jax.lax.stop_gradient(jnp.exp(log_prob - steps.policy_info["log_prob"]))
        ratio = jnp.where(mask > 0, ratio, 1.0)  # an action on a boundary row means nothing, and may be a forbidden one
        vtrace = partial(returns.vtrace, clip_rho=self.clip_rho, clip_c=self.clip_c, clip_pg_rho=self.clip_rho)
        targets, advantages = jax.vmap(vtrace)(
            steps.reward, self.gamma * steps.discount, trace_lambda(steps, self.lambda_), jax.lax.stop_gradient(values), ratio
        )
        mean = lambda x: weighted_mean(jnp.mean(jnp.where(mask > 0, x, 0.0), axis=1), weights)
        policy_loss = mean(losses.policy_gradient(log_prob, advantages))
        value_loss, entropy = mean(losses.squared(values[:, :-1] - targets)), mean(distribution.entropy())
        loss = policy_loss + self.value_coefficient * value_loss - value_at(self.entropy_coefficient, state.step) * entropy
        metrics = {"policy_loss": policy_loss, "value_loss": value_loss, "entropy": entropy, "ratio": mean(ratio)}
        return LossInfo(loss, metrics, {})
