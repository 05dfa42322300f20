"""Proximal policy optimisation (Schulman et al. 2017)."""

import dataclasses
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp

from ..envs.types import Array, Trajectory, Tree
from ..policies.schedule import Schedule, value_at
from . import losses
from .agent import LossInfo, Shards, TrainState
from .on_policy import Examples, OnPolicyAgent, check_prepared, estimate, standardize, total
from .reductions import split_bootstrap


@dataclasses.dataclass(frozen=True, eq=False)
class PpoAgent(OnPolicyAgent):
    """Takes several gradient steps on each batch of rows, held near the policy that made them.

    The loss is surrogate + value_coefficient x (V - target)^2 - entropy_coefficient x entropy, with
    generalised advantage estimates (Schulman et al. 2016). The surrogate is the clipped one, or has
    a penalty beta x KL(old || new) whose beta adapts from batch to batch, or both. With a
    `networks.RecurrentActorValueNetwork` this is recurrent PPO, and a mini-batch is some of the
    sequences. The arguments of `OnPolicyAgent` come first.

    Args:
      lambda_: of the advantage estimates.
      clip_ratio: how far the probability ratio may move with profit; a float, or a schedule of the
        update count; None: no clipping.
      kl_target: the KL divergence (nats) that beta steers a batch's updates to; None: no penalty.
        It is that of the policy after them from the policy before, measured when the next batch
        comes, over its steps.
      initial_kl_beta: beta for the first batch.
      value_coefficient: weight of the squared error, which has no half (CleanRL's 0.5 with a half
        is 0.25 here).
      value_clip: how far a value may move with profit, in its own units, constant; None: no
        clipping.
      advantages: how they are normalised: over each "minibatch" (as OpenAI's Baselines do), over
        the "batch" in `prepare`, or "none".
    """

    lambda_: float | Array = 0.95
    clip_ratio: float | Array | Schedule | None = 0.2
    kl_target: float | None = None
    initial_kl_beta: float = 1.0
    value_coefficient: float | Array = 0.5
    value_clip: float | Array | None = None
    advantages: Literal["minibatch", "batch", "none"] = "minibatch"

    def __post_init__(self):
        super().__post_init__()
        if self.advantages not in ("minibatch", "batch", "none"):
            raise ValueError(
                "PpoAgent: expected advantages 'minibatch', 'batch' or 'none', got "
                f"{self.advantages!r}"
            )

    def initial_extra(self) -> dict[str, Tree]:
        if self.kl_target is None:
            return {}
        return {"kl_beta": jnp.float32(self.initial_kl_beta)}

    def init(self, key: Array) -> TrainState:
        state = super().init(key)
        return state if self.kl_target is None else _remembering(state)

    def prepare(
        self, state: TrainState, experience: Trajectory, *, shards: str | None = None
    ) -> tuple[TrainState, Examples]:
        state, rows = self.normalized(state, experience, shards)
        penalised = self.kl_target is not None
        if penalised:
            state = _remembering(self._adapted(state, rows, shards))
        batch = estimate(self, state.params, rows, self.lambda_, old=penalised)
        if self.advantages == "batch":
            batch = batch._replace(advantage=standardize(batch.advantage, batch.weight, shards))
        return state, batch

    def loss(
        self,
        params: Tree,
        state: TrainState,
        experience: Examples,
        key: Array,
        weights: Array | None = None,
    ) -> LossInfo:
        distribution, value = self.apply(params, experience.observation, experience.memory)
        log_ratio = jnp.where(
            experience.weight > 0,
            distribution.log_prob(experience.action) - experience.log_prob,
            0.0,
        )
        ratio, mean = jnp.exp(log_ratio), partial(experience.mean, weights=weights)
        metrics = {}
        if self.clip_ratio is None:
            surrogate = -ratio * experience.advantage
        else:
            epsilon = value_at(self.clip_ratio, state.step)
            surrogate = losses.clipped_surrogate(ratio, experience.advantage, epsilon)
            metrics["clip_fraction"] = mean(jnp.abs(ratio - 1) > epsilon)
        if self.value_clip is None:
            value_error = losses.squared(value - experience.target)
        else:
            value_error = losses.clipped_value(
                value, experience.value, experience.target, self.value_clip
            )
        policy_loss, value_loss, entropy = (
            mean(surrogate),
            mean(value_error),
            mean(distribution.entropy()),
        )
        loss = (
            policy_loss
            + self.value_coefficient * value_loss
            - value_at(self.entropy_coefficient, state.step) * entropy
        )
        if self.kl_target is None:
            metrics["kl"] = mean(
                ratio - 1 - log_ratio
            )  # an estimate that is never negative (Schulman 2020)
        else:
            metrics["kl"] = mean(experience.distribution.kl_divergence(distribution))
            metrics["kl_beta"] = state.extra["kl_beta"]
            loss += state.extra["kl_beta"] * metrics["kl"]
        metrics |= {"policy_loss": policy_loss, "value_loss": value_loss, "entropy": entropy}
        return LossInfo(loss, metrics, {})

    def train(
        self,
        state: TrainState,
        experience: Examples,
        weights: Array | None = None,
        *,
        shards: Shards | None = None,
    ) -> tuple[TrainState, LossInfo]:
        check_prepared(experience)
        if self.advantages == "minibatch":
            weight = experience.weight
            if weights is not None:
                weight = weight * jnp.reshape(weights, (-1,) + (1,) * (weight.ndim - 1))
            experience = experience._replace(
                advantage=standardize(experience.advantage, weight, shards)
            )
        return super().train(state, experience, weights, shards=shards)

    def _adapted(self, state: TrainState, rows: Trajectory, shards: str | None) -> TrainState:
        """The state with beta adapted to what the last updates did, as the steps of normalised rows
        show it.
        """
        steps, mask = split_bootstrap(rows)
        old, new = (
            self.apply(params, steps.observation, self.memory(steps))[0]
            for params in (state.extra["old_params"], state.params)
        )
        kl = total(jnp.where(mask > 0, old.kl_divergence(new), 0.0), shards) / jnp.maximum(
            total(mask, shards), 1.0
        )
        beta = state.extra["kl_beta"]
        adapted = losses.adapt_kl_beta(beta, kl, self.kl_target)
        return dataclasses.replace(
            state, extra={**state.extra, "kl_beta": jnp.where(state.step > 0, adapted, beta)}
        )


def _remembering(state: TrainState) -> TrainState:
    """The state with a copy of its parameters, before updates."""
    return dataclasses.replace(
        state, extra={**state.extra, "old_params": jax.tree.map(jnp.copy, state.params)}
    )
