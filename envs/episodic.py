"""The one place where JAX environments auto-reset, count steps, cut episodes off and use their
keys.
"""

import abc
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from .specs import EnvironmentSpecs
from .time_step import restart
from .types import Array, StepType, TimeStep, Tree

_ENDED = np.int32(-1)


@struct.dataclass
class EpisodeState:
    """The state of an `EpisodicEnvironment`.

    `physics` is what its dynamics move; `key` starts the next episode; `steps` (int32) counts this
    episode's steps and is -1 once the episode has ended.
    """

    physics: Tree
    key: Array
    steps: Array


class EpisodicEnvironment(abc.ABC):
    """A `JaxEnvironment` given its dynamics: a frozen dataclass (`eq=False`) that derives from this
    writes four methods.

    `reset(key)` splits the key into the next episode's key and the one that `initial_physics` gets;
    the step after a LAST time step returns exactly `reset(state.key)`. So a stream of episodes is a
    function of the first key and the actions. A field `max_episode_steps` (None: no limit) cuts
    episodes off: step type LAST, discount 1 unless the task ended too.
    """

    max_episode_steps: int | None

    @property
    @abc.abstractmethod
    def specs(self) -> EnvironmentSpecs:
        """What it takes and gives."""

    @abc.abstractmethod
    def initial_physics(self, key: Array) -> Tree:
        """The state an episode starts in. It is computed in every step (a batch cannot branch), so
        keep it cheap.
        """

    @abc.abstractmethod
    def dynamics(self, physics: Tree, action: Tree) -> tuple[Tree, Array, Array]:
        """The next physics, the reward (float32 scalar), and whether the task terminated (bool
        scalar).
        """

    @abc.abstractmethod
    def observe(self, physics: Tree) -> Tree:
        """The observation of a state."""

    def reset(self, key: Array) -> tuple[EpisodeState, TimeStep]:
        """The start of the first episode."""
        next_key, initial_key = jax.random.split(key)
        physics = self.initial_physics(initial_key)
        return EpisodeState(physics, next_key, jnp.zeros((), jnp.int32)), restart(
            self.observe(physics)
        )

    def step(self, state: EpisodeState, action: Tree) -> tuple[EpisodeState, TimeStep]:
        """One step of the dynamics, or the start of the next episode if the last one has ended."""
        fresh_state, fresh = self.reset(state.key)
        ended = state.steps == _ENDED
        physics, reward, terminated = self.dynamics(state.physics, action)
        steps = state.steps + 1
        last = (
            terminated
            if self.max_episode_steps is None
            else terminated | (steps >= self.max_episode_steps)
        )
        # Selected leaf by leaf, observed once: the observation is a function of the physics that
        # won.
        physics = jax.tree.map(partial(jnp.where, ended), fresh_state.physics, physics)
        key = jax.lax.select(ended, fresh_state.key, state.key)
        steps = jnp.where(ended, 0, jnp.where(last, _ENDED, steps))
        step_type = jnp.where(ended, StepType.FIRST, jnp.where(last, StepType.LAST, StepType.MID))
        reward = jnp.where(ended, fresh.reward, reward)
        discount = jnp.where(ended | ~terminated, np.float32(1.0), np.float32(0.0))
        return EpisodeState(physics, key, steps), TimeStep(
            step_type, reward, discount, self.observe(physics)
        )
