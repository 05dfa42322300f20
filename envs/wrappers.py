"""Wrappers of JAX environments; for host environments there are gymnasium's own."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from .environment import JaxEnvironment
from .specs import ArraySpec, BoundedSpec, EnvironmentSpecs
from .types import Array, StepType, TimeStep, Tree

_CUT = np.int32(-1)


@struct.dataclass
class TimeLimitState:
    """The wrapped environment's state, the key of the next reset, and this episode's steps (-1: it
    was cut off).
    """

    inner: Any
    key: Array
    steps: Array


@dataclasses.dataclass(frozen=True, eq=False)
class TimeLimit:
    """Cuts episodes off after `max_steps` steps: step type LAST, discount as it was (1 unless the
    task ended there too).

    For environments of others; those of this library have a field `max_episode_steps`.
    """

    env: JaxEnvironment
    max_steps: int

    def __post_init__(self):
        if self.max_steps < 1:
            raise ValueError(f"max_steps: expected at least 1, got {self.max_steps}")

    @property
    def specs(self) -> EnvironmentSpecs:
        """The wrapped environment's."""
        return self.env.specs

    def reset(self, key: Array) -> tuple[TimeLimitState, TimeStep]:
        """The start of the first episode."""
        next_key, reset_key = jax.random.split(key)
        inner, time_step = self.env.reset(reset_key)
        return TimeLimitState(inner, next_key, jnp.zeros((), jnp.int32)), time_step

    def step(self, state: TimeLimitState, action: Tree) -> tuple[TimeLimitState, TimeStep]:
        """One step, or after a cut the start of the next episode."""
        cut = state.steps == _CUT
        fresh, fresh_step = self.reset(state.key)
        select = partial(jnp.where, cut)
        inner, time_step = jax.tree.map(
            select, (fresh.inner, fresh_step), self.env.step(state.inner, action)
        )
        steps = jnp.where(time_step.is_first(), 0, state.steps + 1)
        cut_now = steps >= self.max_steps
        time_step = time_step._replace(
            step_type=jnp.where(cut_now, StepType.LAST, time_step.step_type)
        )
        return TimeLimitState(
            inner, select(fresh.key, state.key), jnp.where(cut_now, _CUT, steps)
        ), time_step

    def render(self, state: TimeLimitState) -> np.ndarray:
        """The wrapped environment's picture, uint8 `[H, W, 3]`."""
        return _render(self.env, state.inner)


@dataclasses.dataclass(frozen=True, eq=False)
class MapObservation:
    """Applies `function` to every observation; `observation_spec` is the spec of what it
    returns.
    """

    env: JaxEnvironment
    function: Callable[[Tree], Tree]
    observation_spec: Tree

    @cached_property
    def specs(self) -> EnvironmentSpecs:
        """The wrapped environment's, with the new observation spec."""
        return dataclasses.replace(self.env.specs, observation=self.observation_spec)

    def reset(self, key: Array) -> tuple[Any, TimeStep]:
        """The wrapped environment's reset, its observation mapped."""
        state, time_step = self.env.reset(key)
        return state, time_step._replace(observation=self.function(time_step.observation))

    def step(self, state: Any, action: Tree) -> tuple[Any, TimeStep]:
        """The wrapped environment's step, its observation mapped."""
        state, time_step = self.env.step(state, action)
        return state, time_step._replace(observation=self.function(time_step.observation))

    def render(self, state: Any) -> np.ndarray:
        """The wrapped environment's picture, uint8 `[H, W, 3]`."""
        return _render(self.env, state)


def select_observation(env: JaxEnvironment, indices: Sequence[int]) -> MapObservation:
    """The environment with only these entries of its observation vector: `(0, 2)` leaves CartPole
    without its velocities.

    Raises:
      ValueError: if the observation is not one vector, or an index lies outside it.
    """
    spec, index = env.specs.observation, np.asarray(indices, np.int32)
    if not isinstance(spec, ArraySpec) or len(spec.shape) != 1:
        raise ValueError(
            f"select_observation: expected an observation of one vector, got {spec}; use "
            "MapObservation"
        )
    if index.ndim != 1 or not index.size or index.min() < 0 or index.max() >= spec.shape[0]:
        raise ValueError(
            f"indices: expected numbers in 0..{spec.shape[0] - 1}, got {list(indices)}"
        )
    if isinstance(spec, BoundedSpec):
        selected: ArraySpec = BoundedSpec(
            index.shape, spec.dtype, spec.low[index], spec.high[index]
        )
    else:
        selected = ArraySpec(index.shape, spec.dtype)
    return MapObservation(env, lambda observation: observation[index], selected)


def _render(env: Any, state: Any) -> np.ndarray:
    if not hasattr(env, "render"):
        raise NotImplementedError(
            f"{type(env).__name__} has no render(state); add one that returns uint8 [H, W, 3]"
        )
    return env.render(state)
