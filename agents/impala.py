"""IMPALA, an actor-critic with V-trace targets (Espeholt et al. 2018); and APPO."""

import dataclasses
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp

from ..envs.types import Array, Trajectory, Tree
from ..policies.schedule import Schedule
from . import losses, returns
from .agent import LossInfo, Shards, TrainState, weighted_mean
from .on_policy import OnPolicyAgent
from .reductions import select, split_bootstrap, trace_lambda
from .step_schedules import OfSteps, scheduled


@dataclasses.dataclass(frozen=True, eq=False)
class ImpalaAgent(OnPolicyAgent):
    """Learns from rows of somewhat older policies, whose log-probabilities were stored with them.

    The loss is -log pi(a) x V-trace advantage + value_coefficient x (V - V-trace target)^2 -
    entropy_coefficient x entropy, a mean over rows. Examples are whole sequences `[N, T + 1]`,
    since targets are of the current network. The arguments of `OnPolicyAgent` come first.

    With a `clip_ratio` this is APPO: the first term is PPO's clipped surrogate of the ratio
    pi(a) / mu(a) to the policy mu that acted, and of the advantage q - V, where q is V-trace's
    estimate. That ratio stands in for the paper's min(rho-bar, rho), so it is in no advantage:
    where nothing is clipped and rho <= 1, the gradient is IMPALA's. (RLlib's APPO clips the ratio
    to a target network; here an update stays near mu itself.)

    Args:
      lambda_: Decay of the trace; 1 is the paper's.
      clip_rho: The paper's rho-bar, for targets and for advantages.
      clip_c: The paper's c-bar.
      clip_ratio: Greatest profitable change of the probability ratio; a float, a schedule of the
        update count, or one of environment steps (`OfSteps`); None for IMPALA.
    """

    lambda_: float | Array = 1.0
    clip_rho: float = 1.0
    clip_c: float = 1.0
    clip_ratio: float | Array | Schedule | OfSteps | None = None

    prepared: ClassVar[type] = Trajectory

    def prepare(
        self, state: TrainState, experience: Trajectory, *, shards: str | None = None
    ) -> tuple[TrainState, Trajectory]:
        """Normalises rows `[B, T + 1, ...]`, which are the examples of this agent."""
        return self.normalized(state, experience, shards)

    def loss(
        self,
        params: Tree,
        state: TrainState,
        experience: Trajectory,
        key: Array,
        weights: Array | None = None,
        *,
        shards: Shards | None = None,
    ) -> LossInfo:
        """The loss on rows `[B, T + 1, ...]` from `prepare`, with `weights` `[B]`."""
        if weights is not None:
            experience = select(weights != 0, experience)
        distribution, values = self.apply(params, experience.observation, self.memory(experience))
        distribution = jax.tree.map(lambda x: x[:, :-1], distribution)
        # On a boundary row only the observation means something; its action may be forbidden.
        steps, mask = split_bootstrap(experience._replace(observation=()))
        steps = select(mask > 0, steps)
        log_prob = distribution.log_prob(steps.action)
        ratio = jnp.exp(jnp.where(mask > 0, log_prob - steps.policy_info["log_prob"], 0.0))
        held_values, held_ratio = jax.lax.stop_gradient((values, ratio))
        vtrace = partial(
            returns.vtrace,
            clip_rho=self.clip_rho,
            clip_c=self.clip_c,
            clip_pg_rho=self.clip_rho,
        )
        discount = self.gamma * steps.discount
        trace = trace_lambda(steps, self.lambda_)
        estimates = jax.vmap(vtrace)(steps.reward, discount, trace, held_values, held_ratio)

        def mean(x: Array) -> Array:
            return weighted_mean(jnp.mean(jnp.where(mask > 0, x, 0.0), axis=1), weights)

        metrics = {"ratio": mean(ratio)}
        if self.clip_ratio is None:
            surrogate = losses.policy_gradient(log_prob, estimates.advantages)
        else:
            epsilon = scheduled(self.clip_ratio, state)
            advantage = estimates.q_estimate - held_values[:, :-1]
            surrogate = losses.clipped_surrogate(ratio, advantage, epsilon)
            metrics["clip_fraction"] = mean((jnp.abs(ratio - 1) > epsilon).astype(jnp.float32))
        value_loss = mean(losses.squared(values[:, :-1] - estimates.targets))
        entropy = mean(distribution.entropy())
        share = mean(mask)
        return self.total_loss(state, mean(surrogate), value_loss, entropy, metrics, share)
