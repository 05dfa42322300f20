"""Policies over a Q-network's action values, and the wrappers that turn any policy greedy or exploring."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from ..envs.types import Array, PolicyStep, TimeStep, Tree, split_action_mask
from ..networks.continuous import clip_to_spec
from ..networks.distributions import Categorical, Deterministic, epsilon_greedy
from ..networks.noisy import apply_network
from .policy import Policy

Schedule = Callable[[Array], Array]


def value_at(schedule: float | Schedule, step: Array) -> Array:
    """A constant, or a schedule evaluated at a number of updates."""
    return schedule(step) if callable(schedule) else schedule


@dataclasses.dataclass(frozen=True, eq=False)
class QPolicy:
    """Draws actions with probabilities softmax(Q / temperature), the Boltzmann policy (Sutton and Barto, section 2.8).

    A mask in the observation (`split_action_mask`) forbids actions. Wrap it in `GreedyPolicy` or `EpsilonGreedyPolicy`.

    Args:
      network: maps observations `[..., *shape]` to action values `[..., num_actions]`.
      temperature: in units of the values; a float, or a schedule of the update count.
      values: maps the network's outputs to values `[..., num_actions]`, where they are something else; None: they are values.
    """

    network: Any
    temperature: float | Schedule = 1.0
    values: Callable[[Array], Array] | None = None

    def initial_state(self, batch_shape: tuple[int, ...] = ()) -> Tree:
        return ()

    def q_values(self, params: Tree, observation: Tree) -> Array:
        """The values `[..., num_actions]` of the actions; forbidden ones included."""
        observation, _ = split_action_mask(observation)
        outputs = apply_network(self.network, params["params"]["q"], observation, params.get("noise"))
        return outputs if self.values is None else self.values(outputs)

    def distribution(self, params: Tree, time_step: TimeStep, state: Tree = ()) -> PolicyStep:
        _, mask = split_action_mask(time_step.observation)
        values = self.q_values(params, time_step.observation)
        return PolicyStep(Categorical(values / value_at(self.temperature, params["step"]), mask), state)

    def action(self, params: Tree, time_step: TimeStep, state: Tree = (), key: Array | None = None) -> PolicyStep:
        step = self.distribution(params, time_step, state)
        return step._replace(action=step.action.sample(key))


@dataclasses.dataclass(frozen=True, eq=False)
class GreedyPolicy:
    """Takes the most probable action of another policy; needs no key.

    It is clipped to the bounds of `policy.spec`, where the policy has one, just as the policy clips the actions that it draws.
    """

    policy: Policy

    def initial_state(self, batch_shape: tuple[int, ...] = ()) -> Tree:
        return self.policy.initial_state(batch_shape)

    def distribution(self, params: Tree, time_step: TimeStep, state: Tree = ()) -> PolicyStep:
        step = self.policy.distribution(params, time_step, state)
        return step._replace(action=Deterministic(self._mode(step.action), step.action.event_ndim))

    def action(self, params: Tree, time_step: TimeStep, state: Tree = (), key: Array | None = None) -> PolicyStep:
        step = self.policy.distribution(params, time_step, state)
        return step._replace(action=self._mode(step.action))

    def _mode(self, distribution: Any) -> Array:
        spec = getattr(self.policy, "spec", None)
        return distribution.mode() if spec is None else clip_to_spec(distribution.mode(), spec)


@dataclasses.dataclass(frozen=True, eq=False)
class EpsilonGreedyPolicy:
    """With probability epsilon a uniformly random allowed action, else the most probable one of another policy.

    Its distribution is the marginal one: the greedy action has probability 1 - epsilon + epsilon / n, others epsilon / n.

    Args:
      policy: a policy over discrete actions whose distributions are `Categorical`.
      epsilon: a float, or a schedule of the update count. An `"epsilon"` leaf in the parameters overrides it, so that
        each actor of many can have its own.
    """

    policy: Policy
    epsilon: float | Schedule = 0.1

    def initial_state(self, batch_shape: tuple[int, ...] = ()) -> Tree:
        return self.policy.initial_state(batch_shape)

    def distribution(self, params: Tree, time_step: TimeStep, state: Tree = ()) -> PolicyStep:
        epsilon = params["epsilon"] if "epsilon" in params else value_at(self.epsilon, params["step"])
        step = self.policy.distribution(params, time_step, state)
        _, mask = split_action_mask(time_step.observation)
        return step._replace(action=epsilon_greedy(step.action.logits, jnp.asarray(epsilon), mask))

    def action(self, params: Tree, time_step: TimeStep, state: Tree = (), key: Array | None = None) -> PolicyStep:
        step = self.distribution(params, time_step, state)
        return step._replace(action=step.action.sample(key))
