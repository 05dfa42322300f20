"""Wrappers of JAX environments; for host environments there are gymnasium's own."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from .environment import JaxEnvironment, check_jax_environment, renderer
from .specs import ArraySpec, BoundedSpec, EnvironmentSpecs
from .types import Array, StepType, TimeStep, Tree

_CUT = np.int32(-1)


@struct.dataclass
class TimeLimitState:
    """The state of a `TimeLimit`.

    `inner` is the wrapped environment's state and `key` that of the next reset. `steps` (int32)
    counts this episode's steps and is -1 once it was cut off.
    """

    inner: Any
    key: Array
    steps: Array


@dataclasses.dataclass(frozen=True, eq=False)
class TimeLimit:
    """Cuts the episodes of an environment off after `max_steps` steps.

    The step type becomes LAST and the discount stays as it was, 1 unless the task ended there too.
    This library's own environments do not need it: they have a field `max_episode_steps`.

    Raises:
      TypeError: if the environment is not in JAX.
      ValueError: if max_steps < 1.
    """

    env: JaxEnvironment
    max_steps: int

    def __post_init__(self):
        check_jax_environment(self.env)
        if self.max_steps < 1:
            raise ValueError(f"max_steps: expected at least 1, got {self.max_steps}")

    @property
    def specs(self) -> EnvironmentSpecs:
        """The specs of the wrapped environment."""
        return self.env.specs

    def reset(self, key: Array) -> tuple[TimeLimitState, TimeStep]:
        """Returns the state and the time step at the start of the first episode."""
        next_key, reset_key = jax.random.split(key)
        inner, time_step = self.env.reset(reset_key)
        return TimeLimitState(inner, next_key, jnp.zeros((), jnp.int32)), time_step

    def step(self, state: TimeLimitState, action: Tree) -> tuple[TimeLimitState, TimeStep]:
        """Takes a step, or starts the next episode after a cut."""
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
        key = select(fresh.key, state.key)
        return TimeLimitState(inner, key, jnp.where(cut_now, _CUT, steps)), time_step

    def render(self, state: TimeLimitState) -> np.ndarray:
        """Returns the wrapped environment's picture, uint8 `[H, W, 3]`."""
        return renderer(self.env)(state.inner)


@dataclasses.dataclass(frozen=True, eq=False)
class MapObservation:
    """Applies `function` to every observation of an environment.

    `observation_spec` is the spec of the function's results.

    Raises:
      TypeError: if the environment is not in JAX.
    """

    env: JaxEnvironment
    function: Callable[[Tree], Tree]
    observation_spec: Tree

    def __post_init__(self):
        check_jax_environment(self.env)

    @cached_property
    def specs(self) -> EnvironmentSpecs:
        """The specs of the wrapped environment, with the new one of observations."""
        return dataclasses.replace(self.env.specs, observation=self.observation_spec)

    def reset(self, key: Array) -> tuple[Any, TimeStep]:
        """Resets the wrapped environment and maps its observation."""
        state, time_step = self.env.reset(key)
        return state, time_step._replace(observation=self.function(time_step.observation))

    def step(self, state: Any, action: Tree) -> tuple[Any, TimeStep]:
        """Steps the wrapped environment and maps its observation."""
        state, time_step = self.env.step(state, action)
        return state, time_step._replace(observation=self.function(time_step.observation))

    def render(self, state: Any) -> np.ndarray:
        """Returns the wrapped environment's picture, uint8 `[H, W, 3]`."""
        return renderer(self.env)(state)


def select_observation(env: JaxEnvironment, indices: Sequence[int]) -> MapObservation:
    """Returns the environment with only some entries of its observation vector.

    Args:
      env: Environment that observes one vector.
      indices: Indices of the entries to keep; `(0, 2)` leaves CartPole without its velocities.

    Raises:
      TypeError: if the environment is not in JAX.
      ValueError: if the observation is not one vector, or an index lies outside it.
    """
    check_jax_environment(env)
    spec = env.specs.observation
    index = np.asarray(indices, np.int32)
    if not isinstance(spec, ArraySpec) or len(spec.shape) != 1:
        raise ValueError(
            f"select_observation: expected an observation of one vector, got {spec}; "
            "use MapObservation"
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
