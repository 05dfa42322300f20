"""Environments that each test one thing of an agent, with the values that a correct one learns.

They come in order: an agent that passes some and fails the next one is broken in what that one
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

# The best continuous action is inside the bounds, so that a clipped or squashed policy reaches it.
TARGET = 0.5


class Probe(JaxEnvironment, Protocol):
    """A JAX environment with the values and the actions that an agent should learn in it."""

    def expected_values(self, gamma: float) -> tuple[np.ndarray, np.ndarray]:
        """Returns observations `[k, 1]` and the values `[k]` of the best policy at them."""

    def best_actions(self) -> np.ndarray | None:
        """Returns the best action at each of these observations: int32 `[k]` or float32 `[k, 1]`.

        None stands for any action.
        """


class _OneNumber(EpisodicEnvironment):
    """A probe that observes one number, at first 0, and ends after one step unless it says more.

    Its dataclasses have the field `continuous`: an action in -1..1, or else one of two.
    """

    continuous: bool

    @cached_property
    def specs(self) -> EnvironmentSpecs:
        """One number in -1..1 is observed; the action is 0 or 1, or a number in -1..1."""
        action = BoundedSpec((1,), np.float32, -1.0, 1.0) if self.continuous else DiscreteSpec(2)
        return EnvironmentSpecs(BoundedSpec((1,), np.float32, -1.0, 1.0), action)

    def initial_physics(self, key: Array) -> Array:
        """The number 0, `[1]`."""
        return jnp.zeros((1,), jnp.float32)

    def best_actions(self) -> np.ndarray | None:
        """None: any action will do."""
        return None


@dataclasses.dataclass(frozen=True, eq=False)
class ConstantReward(_OneNumber):
    """One step, observation 0, reward 1: does the value learn anything at all? The value is 1."""

    continuous: bool = False
    max_episode_steps: int | None = None

    def dynamics(self, physics: Array, action: Array) -> tuple[Array, Array, Array]:
        """Ends with reward 1."""
        return physics, jnp.ones((), jnp.float32), jnp.ones((), jnp.bool_)

    def expected_values(self, gamma: float) -> tuple[np.ndarray, np.ndarray]:
        """Observation 0 is worth 1."""
        return np.zeros((1, 1), np.float32), np.ones(1, np.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class ObservationReward(_OneNumber):
    """One step, a random observation of -1 or 1: does the network see the observation?

    The observation is the reward too.
    """

    continuous: bool = False
    max_episode_steps: int | None = None

    def initial_physics(self, key: Array) -> Array:
        """A random -1 or 1, `[1]`."""
        return jax.random.rademacher(key, (1,), jnp.float32)

    def dynamics(self, physics: Array, action: Array) -> tuple[Array, Array, Array]:
        """Ends with the observation as the reward."""
        return physics, physics[0], jnp.ones((), jnp.bool_)

    def expected_values(self, gamma: float) -> tuple[np.ndarray, np.ndarray]:
        """An observation is worth itself."""
        return np.array([[-1.0], [1.0]], np.float32), np.array([-1.0, 1.0], np.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class DelayedReward(_OneNumber):
    """Two steps with reward 1 at the end only: is the next value discounted and bootstrapped?

    The observations are 0 and then 1.
    """

    continuous: bool = False
    max_episode_steps: int | None = None

    def dynamics(self, physics: Array, action: Array) -> tuple[Array, Array, Array]:
        """Goes on to observation 1, or ends there with reward 1."""
        second = physics[0] > 0.5
        return jnp.ones((1,), jnp.float32), second.astype(jnp.float32), second

    def expected_values(self, gamma: float) -> tuple[np.ndarray, np.ndarray]:
        """Observation 0 is worth gamma, observation 1 is worth 1."""
        return np.array([[0.0], [1.0]], np.float32), np.array([gamma, 1.0], np.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class ActionReward(_OneNumber):
    """One step, observation 0, a reward for the action: does the policy learn from its actions?

    A discrete action earns 1 if it is 1 and -1 if it is 0; a continuous one earns
    1 - (action - 0.5)^2. The best action is worth 1.
    """

    continuous: bool = False
    max_episode_steps: int | None = None

    def dynamics(self, physics: Array, action: Array) -> tuple[Array, Array, Array]:
        """Ends with the action's reward."""
        reward = _action_reward(action, jnp.ones((), jnp.float32), self.continuous)
        return physics, reward, jnp.ones((), jnp.bool_)

    def expected_values(self, gamma: float) -> tuple[np.ndarray, np.ndarray]:
        """Observation 0 is worth 1."""
        return np.zeros((1, 1), np.float32), np.ones(1, np.float32)

    def best_actions(self) -> np.ndarray:
        """Action 1, or 0.5 if continuous."""
        return np.array([[TARGET]], np.float32) if self.continuous else np.array([1], np.int32)


@dataclasses.dataclass(frozen=True, eq=False)
class ObservationActionReward(_OneNumber):
    """One step, a best action for each of two observations: does the policy see the observation?

    The observation o is -1 or 1. A discrete action earns 1 if it is 1 for 1 or 0 for -1, else -1; a
    continuous one earns 1 - (action - 0.5 o)^2. The best action is worth 1.
    """

    continuous: bool = False
    max_episode_steps: int | None = None

    def initial_physics(self, key: Array) -> Array:
        """A random -1 or 1, `[1]`."""
        return jax.random.rademacher(key, (1,), jnp.float32)

    def dynamics(self, physics: Array, action: Array) -> tuple[Array, Array, Array]:
        """Ends with the action's reward, which depends on the observation."""
        return physics, _action_reward(action, physics[0], self.continuous), jnp.ones((), jnp.bool_)

    def expected_values(self, gamma: float) -> tuple[np.ndarray, np.ndarray]:
        """Both observations are worth 1."""
        return np.array([[-1.0], [1.0]], np.float32), np.ones(2, np.float32)

    def best_actions(self) -> np.ndarray:
        """The actions of the observations' signs."""
        if self.continuous:
            return np.array([[-TARGET], [TARGET]], np.float32)
        return np.array([0, 1], np.int32)


@dataclasses.dataclass(frozen=True, eq=False)
class OneState(_OneNumber):
    """One state with reward 1 for ever, cut off by a limit: is a time limit bootstrapped through?

    The observation is 0, and episodes are cut off after `max_episode_steps`. The value is
    1 / (1 - gamma), and not the sum of rewards up to the limit (Pardo et al. 2018).
    """

    continuous: bool = False
    max_episode_steps: int | None = 5

    def dynamics(self, physics: Array, action: Array) -> tuple[Array, Array, Array]:
        """Stays, with reward 1."""
        return physics, jnp.ones((), jnp.float32), jnp.zeros((), jnp.bool_)

    def expected_values(self, gamma: float) -> tuple[np.ndarray, np.ndarray]:
        """Observation 0 is worth 1 / (1 - gamma)."""
        return np.zeros((1, 1), np.float32), np.full(1, 1 / (1 - gamma), np.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class Recall(_OneNumber):
    """Two steps, of which the first shows the second one's best action: does the policy remember?

    The observation o of the first step is -1 or 1, that of the second is 0. In the second step, a
    discrete action earns 1 if it is 1 for o = 1 or 0 for o = -1, else -1: on average 0 without
    memory. A continuous one earns 1 - (action - 0.5 o)^2, at best 0.75 without memory. The first
    step earns nothing.
    """

    continuous: bool = False
    max_episode_steps: int | None = None

    def initial_physics(self, key: Array) -> Array:
        """The observation o, and a number that is 1 in the second step, `[2]`."""
        return jnp.array([1.0, 0.0], jnp.float32) * jax.random.rademacher(key, (), jnp.float32)

    def dynamics(self, physics: Array, action: Array) -> tuple[Array, Array, Array]:
        """Goes on to the second step, or ends with the action's reward."""
        second = physics[1] != 0
        reward = jnp.where(second, _action_reward(action, physics[0], self.continuous), 0.0)
        return physics.at[1].set(1.0), reward, second

    def observe(self, physics: Array) -> Array:
        """The observation o in the first step, 0 in the second."""
        return jnp.where(physics[1] != 0, 0.0, physics[:1])

    def expected_values(self, gamma: float) -> tuple[np.ndarray, np.ndarray]:
        """At the first step, both observations are worth gamma."""
        return np.array([[-1.0], [1.0]], np.float32), np.full(2, gamma, np.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class MaskedActions(EpisodicEnvironment):
    """One step with a random action mask: does the policy keep to the actions that it allows?

    Action i earns i / (num_actions - 1) where the mask allows it and -1 where it does not. The
    observation is `{"observation": float32 [1], "action_mask": bool [num_actions]}`, with at least
    one action allowed. The best policy takes the highest action that the mask allows.
    """

    num_actions: int = 4
    max_episode_steps: int | None = None

    @cached_property
    def specs(self) -> EnvironmentSpecs:
        """Zeros and a mask are observed; the action is one of `num_actions`."""
        observation = {
            "observation": BoundedSpec((1,), np.float32, -1, 1),
            ACTION_MASK: ArraySpec((self.num_actions,), np.bool_),
        }
        return EnvironmentSpecs(observation, DiscreteSpec(self.num_actions))

    def initial_physics(self, key: Array) -> Array:
        """A random mask `[num_actions]` that allows one action at least."""
        always_key, mask_key = jax.random.split(key)
        always = jax.random.randint(always_key, (), 0, self.num_actions, jnp.int32)
        mask = jax.random.bernoulli(mask_key, shape=(self.num_actions,))
        return mask | (jnp.arange(self.num_actions) == always)

    def dynamics(self, physics: Array, action: Array) -> tuple[Array, Array, Array]:
        """Ends with the action's reward."""
        earned = action.astype(jnp.float32) / max(self.num_actions - 1, 1)
        return physics, jnp.where(physics[action], earned, -1.0), jnp.ones((), jnp.bool_)

    def observe(self, physics: Array) -> Tree:
        """The number 0 and the mask."""
        return {"observation": jnp.zeros((1,), jnp.float32), ACTION_MASK: physics}


def all_probes(continuous: bool = False) -> tuple[Probe, ...]:
    """Returns the five probes in the order in which to read their results.

    Args:
      continuous: True for continuous actions.
    """
    kinds = (
        ConstantReward,
        ObservationReward,
        DelayedReward,
        ActionReward,
        ObservationActionReward,
    )
    return tuple(kind(continuous=continuous) for kind in kinds)


def _action_reward(action: Array, sign: Array, continuous: bool) -> Array:
    if continuous:
        return 1.0 - (action[0] - TARGET * sign) ** 2
    return jnp.where(action == 1, sign, -sign)
