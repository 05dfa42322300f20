"""A host and a JAX environment small enough to work returns out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_agents.envs.specs import ArraySpec, DiscreteSpec, EnvironmentSpecs
from jax_agents.envs.types import StepType, TimeStep

SPECS = EnvironmentSpecs(observation=ArraySpec((2,)), action=DiscreteSpec(3))


class CountdownEnv:
    """Environment i plays episodes of the lengths `lengths[i]`, over and over; each step's reward
    is the action taken.

    Unbatched if `lengths` is one list of numbers. The reward that comes with a FIRST time step is
    1000: it counts nowhere.
    """

    specs = SPECS

    def __init__(self, lengths, frame_shape=(6, 9, 3)):
        self.num_envs = None if np.ndim(lengths[0]) == 0 else len(lengths)
        self.lengths = [lengths] if self.num_envs is None else lengths
        self.frame_shape = frame_shape
        self.seeds = []

    def reset(self, seed=None):
        self.seeds.append(seed)
        self.episode = [0] * len(self.lengths)
        self.clock = [0] * len(self.lengths)
        return self._time_step(np.zeros(len(self.lengths)))

    def step(self, action):
        for i, lengths in enumerate(self.lengths):
            over = self.clock[i] == lengths[self.episode[i] % len(lengths)]
            self.clock[i] = 0 if over else self.clock[i] + 1
            self.episode[i] += over
        return self._time_step(np.atleast_1d(action))

    def render(self):
        if self.frame_shape is None:
            return None
        frame = np.full(self.frame_shape, 255, np.uint8)
        frame[..., 0] = min(255, 40 * self.clock[0])
        return frame

    def _time_step(self, reward):
        clock = np.array(self.clock)
        length = np.array([n[e % len(n)] for n, e in zip(self.lengths, self.episode, strict=True)])
        step_type = np.where(
            clock == 0, StepType.FIRST, np.where(clock == length, StepType.LAST, StepType.MID)
        ).astype(np.int32)
        reward = np.where(clock == 0, 1000, reward).astype(np.float32)
        observation = np.stack([clock, length], -1).astype(np.float32)
        batched = TimeStep(step_type, reward, np.ones(len(clock), np.float32), observation)
        return batched if self.num_envs is not None else jax.tree.map(lambda x: x[0], batched)


class JaxCountdown:
    """Episodes of 1..5 steps, as the key says; a step's reward is the action taken plus 0.5."""

    specs = SPECS

    def reset(self, key):
        length = 1 + (jax.random.key_data(key)[-1] % 5).astype(jnp.int32)
        state = {"clock": jnp.int32(0), "length": length, "key": key}
        return state, self._time_step(state, jnp.float32(0))

    def step(self, state, action):
        fresh, first = self.reset(state["key"])
        state_next = {**state, "clock": state["clock"] + 1}
        over = state["clock"] == state["length"]
        moved = self._time_step(state_next, action + jnp.float32(0.5))
        return jax.tree.map(lambda a, b: jnp.where(over, a, b), (fresh, first), (state_next, moved))

    def _time_step(self, state, reward):
        clock, length = state["clock"], state["length"]
        step_type = jnp.where(
            clock == 0, StepType.FIRST, jnp.where(clock == length, StepType.LAST, StepType.MID)
        )
        observation = jnp.stack([clock, length]).astype(jnp.float32)
        return TimeStep(step_type, reward, jnp.float32(1), observation)


@pytest.fixture
def countdown():
    return CountdownEnv


@pytest.fixture
def jax_countdown():
    return JaxCountdown()
