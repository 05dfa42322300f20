"""The base of JAX environments: it resets, counts steps, cuts episodes off and keeps the keys."""

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

    `physics` is the state that the dynamics move. `key` starts the next episode. `steps` (int32)
    counts this episode's steps and is -1 once the episode has ended.
    """

    physics: Tree
    key: Array
    steps: Array


class EpisodicEnvironment(abc.ABC):
    """A `JaxEnvironment` that lacks only its dynamics.

    A frozen dataclass (`eq=False`) that derives from this defines `specs`, `initial_physics`,
    `dynamics` and, unless its physics are observed as they are, `observe`. `reset(key)` splits the
    key into the next episode's key and the one that `initial_physics` gets; the step after a LAST
    time step returns exactly `reset(state.key)`. So a stream of episodes is a function of the first
    key and the actions. A field `max_episode_steps` (None: no limit) cuts episodes off: step type
    LAST, discount 1 unless the task ended too.
    """

    max_episode_steps: int | None

    @property
    @abc.abstractmethod
    def specs(self) -> EnvironmentSpecs:
        """The specs of the environment."""

    @abc.abstractmethod
    def initial_physics(self, key: Array) -> Tree:
        """Returns the physics that an episode starts in.

        They are computed in every step, since a batch cannot branch: keep this cheap.
        """

    @abc.abstractmethod
    def dynamics(self, physics: Tree, action: Tree) -> tuple[Tree, Array, Array]:
        """Returns the next physics, the reward (float32 scalar), and True if the task ended."""

    def observe(self, physics: Tree) -> Tree:
        """Returns the observation of physics: by default the physics."""
        return physics

    def reset(self, key: Array) -> tuple[EpisodeState, TimeStep]:
        """Returns the state and the time step at the start of the first episode."""
        next_key, initial_key = jax.random.split(key)
        physics = self.initial_physics(initial_key)
        state = EpisodeState(physics, next_key, jnp.zeros((), jnp.int32))
        return state, restart(self.observe(physics))

    def step(self, state: EpisodeState, action: Tree) -> tuple[EpisodeState, TimeStep]:
        """Takes a step of the dynamics, or starts the next episode if the last one has ended."""
        fresh_state, fresh = self.reset(state.key)
        ended = state.steps == _ENDED
        physics, reward, terminated = self.dynamics(state.physics, action)
        steps = state.steps + 1
        last = terminated
        if self.max_episode_steps is not None:
            last = terminated | (steps >= self.max_episode_steps)
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
