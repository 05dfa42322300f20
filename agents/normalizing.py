"""Running normalisers of the rows that on-policy agents learn from, kept in `TrainState.extra`.

They are part of what was learned: networks mean nothing without the statistics of their inputs.
"""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from ..envs.specs import EnvironmentSpecs
from ..envs.types import StepType, Trajectory, Tree
from ..networks.normalizer import (
    RunningStatistics,
    init_statistics,
    normalize,
    update_statistics,
)
from .agent import TrainState
from .reductions import padding, split_bootstrap

OBSERVATIONS = "observation_statistics"
RETURNS = "return_statistics"
STATISTICS = (OBSERVATIONS, RETURNS)


def learned(state: TrainState) -> dict[str, Tree]:
    """The weights of a state: its parameters by role, and its normalisers' statistics by name.

    Statistics are dicts of `count`, `mean` and `variance`.
    """
    statistics = {name: state.extra[name] for name in STATISTICS if name in state.extra}
    return dict(state.params) | {name: dict(vars(one)) for name, one in statistics.items()}


def with_learned(state: TrainState, weights: Mapping[str, Tree]) -> TrainState:
    """The state with other weights, and target networks that are copies of them.

    The optimizer's state and the update count stay.

    Args:
      state: State.
      weights: Some or all entries of what `learned` returns; the others stay.
    """
    params = {role: tree for role, tree in weights.items() if role in state.params}
    targets = {
        role: jax.tree.map(jnp.copy, params[role]) for role in state.target_params if role in params
    }
    statistics = {
        name: RunningStatistics(**weights[name]) for name in STATISTICS if name in weights
    }
    return dataclasses.replace(
        state,
        params={**state.params, **params},
        target_params={**state.target_params, **targets},
        extra={**state.extra, **statistics},
    )


def first_statistics(specs: EnvironmentSpecs, observations: bool, rewards: bool) -> dict[str, Tree]:
    """Returns the first statistics of the normalisers, as entries of `TrainState.extra`.

    Args:
      specs: Specs of the environment.
      observations: True for statistics of observations.
      rewards: True for statistics of discounted sums of rewards.
    """
    extra = {}
    if observations:
        extra[OBSERVATIONS] = init_statistics(specs.observation)
    if rewards:
        extra[RETURNS] = init_statistics(specs.reward)
    return extra


def normalize_rows(
    state: TrainState, rows: Trajectory, shards: str | None = None
) -> tuple[TrainState, Trajectory]:
    """Normalises rows by the statistics that a state has, after counting the rows in them.

    Observations get mean 0 and variance 1, and rewards are divided by the standard deviation of
    their discounted sum, `policy_info["discounted_return"]`; both are clipped to +-10.

    Args:
      state: State of the agent, with entries of `first_statistics` in `extra`.
      rows: Rows `[B, T + 1, ...]`; row T is not counted, since it comes again, as the first of the
        next segment.
      shards: Name of the mapped axis of devices, or None.

    Returns:
      The state with its statistics up to date, and the rows.
    """
    extra = dict(state.extra)
    steps, _ = split_bootstrap(rows)
    counted = jnp.where(padding(steps), jnp.float32(0.0), jnp.float32(1.0))
    if OBSERVATIONS in extra:
        extra[OBSERVATIONS] = update_statistics(
            extra[OBSERVATIONS], steps.observation, counted, axis_name=shards
        )
        rows = rows._replace(observation=normalize(extra[OBSERVATIONS], rows.observation))
    if RETURNS in extra:
        # A FIRST row came with no reward.
        weights = jnp.where(steps.step_type == StepType.FIRST, 0.0, counted)
        sums = steps.policy_info["discounted_return"]
        extra[RETURNS] = update_statistics(extra[RETURNS], sums, weights, axis_name=shards)
        scale = jax.lax.rsqrt(extra[RETURNS].variance + 1e-8)
        rows = rows._replace(reward=jnp.clip(rows.reward * scale, -10.0, 10.0))
    return dataclasses.replace(state, extra=extra), rows
