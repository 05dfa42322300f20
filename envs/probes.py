"""Environments that each test one thing of an agent, with the values that a right one learns.

They come in order: an agent that fails one and passes those before it is broken in what that one
adds.
"""

import dataclasses
from functools import cached_property
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from .environment import JaxEnvironment
from .episodic import EpisodicEnvironment
from .specs import ArraySpec, BoundedSpec, DiscreteSpec, EnvironmentSpecs
from .types import ACTION_MASK, Array, Tree

TARGET = 0.5  # the best continuous action, inside the bounds, so that a clipped or squashed policy can reach it


class Probe(JaxEnvironment, Protocol):
    """A JAX environment that knows what an agent should learn in it."""

    def expected_values(self, gamma: float) -> tuple[np.ndarray, np.ndarray]:
        """Observations `[k, 1]` and the values `[k]` of the best policy at them."""

    def best_actions(self) -> np.ndarray | None:
        """The best action at each of these observations: int32 `[k]`, or float32 `[k, 1]`; None
        where any will do.
        """


@dataclasses.dataclass(frozen=True, eq=False)
class ConstantReward(EpisodicEnvironment):
    """One step, observation 0, reward 1: does the value learn anything at all? The value is 1."""

    continuous: bool = False
    max_episode_steps: int | None = None

    @cached_property
    def specs(self) -> EnvironmentSpecs:
        return _specs(self.continuous)

    def initial_physics(self, key: Array) -> Array:
        return jnp.zeros((1,), jnp.float32)

    def dynamics(self, physics: Array, action: Array) -> tuple[Array, Array, Array]:
        return physics, jnp.ones((), jnp.float32), jnp.ones((), jnp.bool_)

    def observe(self, physics: Array) -> Array:
        return physics

    def expected_values(self, gamma: float) -> tuple[np.ndarray, np.ndarray]:
        """Observation 0 is worth 1."""
        return np.zeros((1, 1), np.float32), np.ones(1, np.float32)

    def best_actions(self) -> None:
        """Any action will do."""


@dataclasses.dataclass(frozen=True, eq=False)
class ObservationReward(EpisodicEnvironment):
    """One step, a random observation of -1 or 1, which is the reward too: does the network see the
    observation?
    """

    continuous: bool = False
    max_episode_steps: int | None = None

    @cached_property
    def specs(self) -> EnvironmentSpecs:
        return _specs(self.continuous)

    def initial_physics(self, key: Array) -> Array:
        return jax.random.rademacher(key, (1,), jnp.float32)

    def dynamics(self, physics: Array, action: Array) -> tuple[Array, Array, Array]:
        return physics, physics[0], jnp.ones((), jnp.bool_)

    def observe(self, physics: Array) -> Array:
        return physics

    def expected_values(self, gamma: float) -> tuple[np.ndarray, np.ndarray]:
        """An observation is worth itself."""
        return np.array([[-1.0], [1.0]], np.float32), np.array([-1.0, 1.0], np.float32)

    def best_actions(self) -> None:
        """Any action will do."""


@dataclasses.dataclass(frozen=True, eq=False)
class DelayedReward(EpisodicEnvironment):
    """Two steps, observation 0 and then 1, reward 1 at the end only: is the next value discounted
    and bootstrapped?
    """

    continuous: bool = False
    max_episode_steps: int | None = None

    @cached_property
    def specs(self) -> EnvironmentSpecs:
        return _specs(self.continuous)

    def initial_physics(self, key: Array) -> Array:
        return jnp.zeros((1,), jnp.float32)

    def dynamics(self, physics: Array, action: Array) -> tuple[Array, Array, Array]:
        second = physics[0] > 0.5
        return jnp.ones((1,), jnp.float32), second.astype(jnp.float32), second

    def observe(self, physics: Array) -> Array:
        return physics

    def expected_values(self, gamma: float) -> tuple[np.ndarray, np.ndarray]:
        """Observation 0 is worth gamma, observation 1 is worth 1."""
        return np.array([[0.0], [1.0]], np.float32), np.array([gamma, 1.0], np.float32)

    def best_actions(self) -> None:
        """Any action will do."""


@dataclasses.dataclass(frozen=True, eq=False)
class ActionReward(EpisodicEnvironment):
    """One step, observation 0; the reward depends on the action: does the policy learn from its
    actions?

    Discrete: 1 for action 1, -1 for action 0. Continuous: 1 - (action - 0.5)^2. The best is worth
    1.
    """

    continuous: bool = False
    max_episode_steps: int | None = None

    @cached_property
    def specs(self) -> EnvironmentSpecs:
        return _specs(self.continuous)

    def initial_physics(self, key: Array) -> Array:
        return jnp.zeros((1,), jnp.float32)

    def dynamics(self, physics: Array, action: Array) -> tuple[Array, Array, Array]:
        return (
            physics,
            _action_reward(action, jnp.ones((), jnp.float32), self.continuous),
            jnp.ones((), jnp.bool_),
        )

    def observe(self, physics: Array) -> Array:
        return physics

    def expected_values(self, gamma: float) -> tuple[np.ndarray, np.ndarray]:
        """Observation 0 is worth 1."""
        return np.zeros((1, 1), np.float32), np.ones(1, np.float32)

    def best_actions(self) -> np.ndarray:
        """Action 1; 0.5 if continuous."""
        return np.array([[TARGET]], np.float32) if self.continuous else np.array([1], np.int32)


@dataclasses.dataclass(frozen=True, eq=False)
class ObservationActionReward(EpisodicEnvironment):
    """One step, a random observation o of -1 or 1, and a best action for each: does the policy see
    the observation?

    Discrete: 1 if action 1 answers 1 or action 0 answers -1, else -1. Continuous: 1 - (action - 0.5
    o)^2. The best is worth 1.
    """

    continuous: bool = False
    max_episode_steps: int | None = None

    @cached_property
    def specs(self) -> EnvironmentSpecs:
        return _specs(self.continuous)

    def initial_physics(self, key: Array) -> Array:
        return jax.random.rademacher(key, (1,), jnp.float32)

    def dynamics(self, physics: Array, action: Array) -> tuple[Array, Array, Array]:
        return physics, _action_reward(action, physics[0], self.continuous), jnp.ones((), jnp.bool_)

    def observe(self, physics: Array) -> Array:
        return physics

    def expected_values(self, gamma: float) -> tuple[np.ndarray, np.ndarray]:
        """Both observations are worth 1."""
        return np.array([[-1.0], [1.0]], np.float32), np.ones(2, np.float32)

    def best_actions(self) -> np.ndarray:
        """The action of the observation's sign."""
        return (
            np.array([[-TARGET], [TARGET]], np.float32)
            if self.continuous
            else np.array([0, 1], np.int32)
        )


@dataclasses.dataclass(frozen=True, eq=False)
class OneState(EpisodicEnvironment):
    """One state, observation 0, reward 1, for ever, cut off after `max_episode_steps`: is a time
    limit bootstrapped through?

    The value is 1 / (1 - gamma), and not the sum of rewards up to the limit (Pardo et al. 2018).
    """

    continuous: bool = False
    max_episode_steps: int | None = 5

    @cached_property
    def specs(self) -> EnvironmentSpecs:
        return _specs(self.continuous)

    def initial_physics(self, key: Array) -> Array:
        return jnp.zeros((1,), jnp.float32)

    def dynamics(self, physics: Array, action: Array) -> tuple[Array, Array, Array]:
        return physics, jnp.ones((), jnp.float32), jnp.zeros((), jnp.bool_)

    def observe(self, physics: Array) -> Array:
        return physics

    def expected_values(self, gamma: float) -> tuple[np.ndarray, np.ndarray]:
        """Observation 0 is worth 1 / (1 - gamma)."""
        return np.zeros((1, 1), np.float32), np.full(1, 1 / (1 - gamma), np.float32)

    def best_actions(self) -> None:
        """Any action will do."""


@dataclasses.dataclass(frozen=True, eq=False)
class Recall(EpisodicEnvironment):
    """Two steps: an observation o of -1 or 1, then 0, where the best action depends on o: does the
    policy remember?

    Discrete: 1 if action 1 answers 1 or action 0 answers -1, else -1, on average 0 without memory.
    Continuous: 1 - (action - 0.5 o)^2, at best 0.75 without memory. The first step earns nothing.
    """

    continuous: bool = False
    max_episode_steps: int | None = None

    @cached_property
    def specs(self) -> EnvironmentSpecs:
        return _specs(self.continuous)

    def initial_physics(self, key: Array) -> Array:
        return jnp.array([1.0, 0.0]) * jax.random.rademacher(
            key, (), jnp.float32
        )  # what it showed; then 1 in the second step

    def dynamics(self, physics: Array, action: Array) -> tuple[Array, Array, Array]:
        second = physics[1] != 0
        reward = jnp.where(second, _action_reward(action, physics[0], self.continuous), 0.0)
        return physics.at[1].set(1.0), reward, second

    def observe(self, physics: Array) -> Array:
        return jnp.where(physics[1] != 0, 0.0, physics[:1])

    def expected_values(self, gamma: float) -> tuple[np.ndarray, np.ndarray]:
        """At the first step, both observations are worth gamma."""
        return np.array([[-1.0], [1.0]], np.float32), np.full(2, gamma, np.float32)

    def best_actions(self) -> None:
        """Any action will do in the first step; in the second, that of the first observation's
        sign.
        """


@dataclasses.dataclass(frozen=True, eq=False)
class MaskedActions(EpisodicEnvironment):
    """One step; action i earns i / (num_actions - 1) where this episode's random mask allows it,
    and -1 where it does not.

    Observation: `{"observation": float32 [1], "action_mask": bool [num_actions]}`, at least one
    action allowed. What an action earns does not depend on the mask, so the best policy takes the
    highest action that it allows.
    """

    num_actions: int = 4
    max_episode_steps: int | None = None

    @cached_property
    def specs(self) -> EnvironmentSpecs:
        observation = {
            "observation": BoundedSpec((1,), np.float32, -1, 1),
            ACTION_MASK: ArraySpec((self.num_actions,), np.bool_),
        }
        return EnvironmentSpecs(observation, DiscreteSpec(self.num_actions))

    def initial_physics(self, key: Array) -> Array:
        always_key, mask_key = jax.random.split(key)
        always = jax.random.randint(always_key, (), 0, self.num_actions)
        return jax.random.bernoulli(mask_key, shape=(self.num_actions,)) | (
            jnp.arange(self.num_actions) == always
        )

    def dynamics(self, physics: Array, action: Array) -> tuple[Array, Array, Array]:
        earned = action.astype(jnp.float32) / max(self.num_actions - 1, 1)
        return physics, jnp.where(physics[action], earned, -1.0), jnp.ones((), jnp.bool_)

    def observe(self, physics: Array) -> Tree:
        return {"observation": jnp.zeros((1,), jnp.float32), ACTION_MASK: physics}


def all_probes(continuous: bool = False) -> tuple[Probe, ...]:
    """The five probes in the order in which to read their results."""
    kinds = (
        ConstantReward,
        ObservationReward,
        DelayedReward,
        ActionReward,
        ObservationActionReward,
    )
    return tuple(kind(continuous=continuous) for kind in kinds)


def _specs(continuous: bool) -> EnvironmentSpecs:
    action = BoundedSpec((1,), np.float32, -1.0, 1.0) if continuous else DiscreteSpec(2)
    return EnvironmentSpecs(BoundedSpec((1,), np.float32, -1.0, 1.0), action)


def _action_reward(action: Array, sign: Array, continuous: bool) -> Array:
    if continuous:
        return 1.0 - (action[0] - TARGET * sign) ** 2
    return jnp.where(action == 1, sign, -sign)
