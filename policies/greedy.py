"""Wrappers that turn any policy greedy, or greedy most of the time."""

import dataclasses
from typing import Any

import jax.numpy as jnp

from ..envs.types import Array, PolicyStep, TimeStep, Tree, split_action_mask
from ..networks.continuous import clip_to_spec
from ..networks.distributions import Deterministic, epsilon_greedy
from .schedule import Schedule, value_in
from .wrapper import PolicyWrapper


@dataclasses.dataclass(frozen=True, eq=False)
class GreedyPolicy(PolicyWrapper):
    """Takes the most probable action of another policy; needs no key.

    It is clipped to the bounds of `policy.spec`, if the policy has one, just as the policy clips
    the actions that it draws.
    """

    def distribution(self, params: Tree, time_step: TimeStep, state: Tree = ()) -> PolicyStep:
        """The distribution that is sure of the greedy action."""
        step = self.policy.distribution(params, time_step, state)
        return step._replace(action=Deterministic(self._mode(step.action), step.action.event_ndim))

    def action(
        self, params: Tree, time_step: TimeStep, state: Tree = (), key: Array | None = None
    ) -> PolicyStep:
        """The greedy action; the key is not used."""
        step = self.policy.distribution(params, time_step, state)
        return step._replace(action=self._mode(step.action))

    def _mode(self, distribution: Any) -> Array:
        policy: Any = self.policy
        while not hasattr(policy, "spec") and isinstance(policy, PolicyWrapper):
            policy = policy.policy
        spec = getattr(policy, "spec", None)
        return distribution.mode() if spec is None else clip_to_spec(distribution.mode(), spec)


@dataclasses.dataclass(frozen=True, eq=False)
class EpsilonGreedyPolicy(PolicyWrapper):
    """With probability epsilon a uniformly random allowed action, otherwise the greedy one.

    Its distribution is the marginal one: the greedy action has probability 1 - epsilon +
    epsilon / n, and the others epsilon / n.

    Args:
      policy: Policy over discrete actions whose distributions are `Categorical`.
      epsilon: Probability of a random action; a float, or a schedule of the update count. An entry
        `"epsilon"` of the parameters overrides it, so that each actor of many can have its own.
    """

    epsilon: float | Schedule = 0.1

    def distribution(self, params: Tree, time_step: TimeStep, state: Tree = ()) -> PolicyStep:
        """The marginal distribution over actions."""
        epsilon = value_in(params, "epsilon", self.epsilon)
        step = self.policy.distribution(params, time_step, state)
        _, mask = split_action_mask(time_step.observation)
        return step._replace(action=epsilon_greedy(step.action.logits, jnp.asarray(epsilon), mask))

    def action(
        self, params: Tree, time_step: TimeStep, state: Tree = (), key: Array | None = None
    ) -> PolicyStep:
        """Draws an action."""
        step = self.distribution(params, time_step, state)
        return step._replace(action=step.action.sample(key))
