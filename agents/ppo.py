"""Proximal policy optimisation (Schulman et al. 2017)."""

import dataclasses
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp

from ..envs.types import Array, Trajectory, Tree
from ..policies.schedule import Schedule
from . import losses
from .agent import LossInfo, Shards, TrainState
from .examples import Examples, standardize, total
from .on_policy import OnPolicyAgent
from .reductions import select, split_bootstrap
from .step_schedules import OfSteps, scheduled


@dataclasses.dataclass(frozen=True, eq=False)
class PpoAgent(OnPolicyAgent):
    """Takes several gradient steps on each batch of rows, near the policy that made them.

    The loss is surrogate + value_coefficient x (V - target)^2 - entropy_coefficient x entropy, with
    generalised advantage estimates (Schulman et al. 2016). The surrogate is the clipped one, or has
    a penalty beta x KL(old || new) whose beta adapts from batch to batch, or both. With a
    `networks.RecurrentActorValueNetwork` this is recurrent PPO, and a mini-batch is some of the
    sequences. The arguments of `OnPolicyAgent` come first. CleanRL multiplies half the squared
    error of the values by 0.5; the same loss has a value coefficient of 0.25 here.

    Args:
      lambda_: Decay of the trace of the advantage estimates.
      clip_ratio: Distance of the probability ratio from 1 beyond which the loss rewards no further
        change; a float, a schedule of the update count, or one of environment steps (`OfSteps`);
        None for no clipping.
      kl_target: KL divergence in nats that the updates on one batch should make; None for no
        penalty. The divergence from the policy before these updates to the policy after them is
        measured on the steps of the next batch, and beta is adapted to it.
      initial_kl_beta: Beta for the first batch.
      value_clip: Distance of a value from its estimate before the updates beyond which the loss
        rewards no further change, in units of the values; None for no clipping.
      advantages: Standardisation of the advantages: "minibatch" for each mini-batch apart (as
        OpenAI's Baselines do), "batch" for the whole batch in `prepare`, "none" for none.
    """

    lambda_: float | Array = 0.95
    clip_ratio: float | Array | Schedule | OfSteps | None = 0.2
    kl_target: float | None = None
    initial_kl_beta: float = 1.0
    value_clip: float | Array | None = None
    advantages: Literal["minibatch", "batch", "none"] = "minibatch"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.advantages not in ("minibatch", "batch", "none"):
            raise ValueError(
                "PpoAgent: expected advantages 'minibatch', 'batch' or 'none', got "
                f"{self.advantages!r}"
            )

    def initial_extra(self) -> dict[str, Tree]:
        """The first beta, if there is a penalty."""
        if self.kl_target is None:
            return {}
        return {"kl_beta": jnp.float32(self.initial_kl_beta)}

    def init(self, key: Array) -> TrainState:
        """Returns a fresh state, made from a typed random key."""
        state = super().init(key)
        return state if self.kl_target is None else _keep_params(state)

    def prepare(
        self, state: TrainState, experience: Trajectory, *, shards: str | None = None
    ) -> tuple[TrainState, Examples]:
        """Adapts beta, and turns rows into examples; see `OnPolicyAgent.prepare`."""
        state, rows = self.normalized(state, experience, shards)
        penalised = self.kl_target is not None
        if penalised:
            state = _keep_params(self._adapt_beta(state, rows, shards))
        batch = self.gae_examples(state.params, rows, self.lambda_, keep_policy=penalised)
        if self.advantages == "batch":
            advantage = standardize(batch.advantage, batch.weight, shards)
            batch = batch._replace(advantage=advantage)
        return state, batch

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
        """The loss on examples `[N, ...]`, all or some from `prepare`, with `weights` `[N]`."""
        experience = experience.selected(weights)
        distribution, value = self.apply(params, experience.observation, experience.memory)
        mean = partial(experience.mean, weights=weights)
        advantage = experience.advantage
        if self.advantages == "minibatch":
            advantage = standardize(advantage, experience.weight, shards)
        log_ratio = distribution.log_prob(experience.action) - experience.log_prob
        # What does not count may have any log-probabilities, whose exponential may be infinite.
        log_ratio = jnp.where(experience.weight > 0, log_ratio, 0.0)
        ratio = jnp.exp(log_ratio)
        metrics = {}
        if self.clip_ratio is None:
            surrogate = -ratio * advantage
        else:
            epsilon = scheduled(self.clip_ratio, state)
            surrogate = losses.clipped_surrogate(ratio, advantage, epsilon)
            metrics["clip_fraction"] = mean((jnp.abs(ratio - 1) > epsilon).astype(jnp.float32))
        if self.value_clip is None:
            value_error = losses.squared(value - experience.target)
        else:
            value_error = losses.clipped_value(
                value, experience.value, experience.target, self.value_clip
            )
        if self.kl_target is None:
            kl = mean(ratio - 1 - log_ratio)  # an estimate that is never negative (Schulman 2020)
        else:
            # Where nothing counts, the old distribution may be anything: the new one replaces it.
            new = jax.lax.stop_gradient(distribution)
            old = select(experience.weight > 0, experience.distribution, new)
            kl = mean(old.kl_divergence(distribution))
        metrics["kl"] = kl
        entropy = mean(distribution.entropy())
        share = mean(jnp.ones_like(ratio))
        info = self.total_loss(state, mean(surrogate), mean(value_error), entropy, metrics, share)
        if self.kl_target is None:
            return info
        beta = state.extra["kl_beta"]
        return info._replace(loss=info.loss + beta * kl, metrics=info.metrics | {"kl_beta": beta})

    def _adapt_beta(self, state: TrainState, rows: Trajectory, shards: str | None) -> TrainState:
        """Adapts beta to the divergence that the last updates made, on the normalised `rows`."""
        steps, mask = split_bootstrap(rows)
        policy = lambda params: self.apply(params, steps.observation, self.memory(steps))[0]
        divergence = policy(state.extra["old_params"]).kl_divergence(policy(state.params))
        count = jnp.maximum(total(mask, shards), 1.0)
        kl = total(jnp.where(mask > 0, divergence, 0.0), shards) / count
        beta = state.extra["kl_beta"]
        adapted = losses.adapt_kl_beta(beta, kl, self.kl_target)
        # Before the first update there is no divergence to adapt to.
        extra = {**state.extra, "kl_beta": jnp.where(state.step > 0, adapted, beta)}
        return dataclasses.replace(state, extra=extra)


def _keep_params(state: TrainState) -> TrainState:
    """Returns the state with a copy of its parameters, before updates, in `extra`.

    It is a copy, since the parameters themselves may be donated.
    """
    copies = jax.tree.map(jnp.copy, state.params)
    return dataclasses.replace(state, extra={**state.extra, "old_params": copies})
