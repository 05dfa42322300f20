"""Running normalisers of the rows that on-policy agents learn from, kept in `TrainState.extra`."""

import dataclasses

import jax
import jax.numpy as jnp

from ..envs.specs import EnvironmentSpecs
from ..envs.types import StepType, Trajectory, Tree
from ..networks.normalizer import init_statistics, normalize, update_statistics
from .agent import TrainState
from .reductions import padding, split_bootstrap

OBSERVATIONS = "observation_statistics"
RETURNS = "return_statistics"


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
