"""Wrappers that turn any policy greedy, or greedy most of the time."""

import dataclasses
from typing import Any

import jax.numpy as jnp

from ..envs.types import Array, PolicyStep, TimeStep, Tree, split_action_mask
from ..networks.continuous import clip_to_spec
from ..networks.distributions import Deterministic, epsilon_greedy
from .policy import Policy
from .schedule import Schedule, value_at


@dataclasses.dataclass(frozen=True, eq=False)
class GreedyPolicy:
    """Takes the most probable action of another policy; needs no key.

    It is clipped to the bounds of `policy.spec`, where the policy has one, just as the policy clips
    the actions that it draws.
    """

    policy: Policy

    def initial_state(self, batch_shape: tuple[int, ...] = ()) -> Tree:
        return self.policy.initial_state(batch_shape)

    def distribution(self, params: Tree, time_step: TimeStep, state: Tree = ()) -> PolicyStep:
        step = self.policy.distribution(params, time_step, state)
        return step._replace(action=Deterministic(self._mode(step.action), step.action.event_ndim))

    def action(
        self, params: Tree, time_step: TimeStep, state: Tree = (), key: Array | None = None
    ) -> PolicyStep:
        step = self.policy.distribution(params, time_step, state)
        return step._replace(action=self._mode(step.action))

    def _mode(self, distribution: Any) -> Array:
        spec = getattr(self.policy, "spec", None)
        return distribution.mode() if spec is None else clip_to_spec(distribution.mode(), spec)


@dataclasses.dataclass(frozen=True, eq=False)
class EpsilonGreedyPolicy:
    """With probability epsilon a uniformly random allowed action, else the most probable one of
    another policy.

    Its distribution is the marginal one: the greedy action has probability 1 - epsilon + epsilon /
    n, others epsilon / n.

    Args:
      policy: a policy over discrete actions whose distributions are `Categorical`.
      epsilon: a float, or a schedule of the update count. An `"epsilon"` leaf in the parameters
        overrides it, so that each actor of many can have its own.
    """

    policy: Policy
    epsilon: float | Schedule = 0.1

    def initial_state(self, batch_shape: tuple[int, ...] = ()) -> Tree:
        return self.policy.initial_state(batch_shape)

    def distribution(self, params: Tree, time_step: TimeStep, state: Tree = ()) -> PolicyStep:
        epsilon = (
            params["epsilon"] if "epsilon" in params else value_at(self.epsilon, params["step"])
        )
        step = self.policy.distribution(params, time_step, state)
        _, mask = split_action_mask(time_step.observation)
        return step._replace(action=epsilon_greedy(step.action.logits, jnp.asarray(epsilon), mask))

    def action(
        self, params: Tree, time_step: TimeStep, state: Tree = (), key: Array | None = None
    ) -> PolicyStep:
        step = self.distribution(params, time_step, state)
        return step._replace(action=step.action.sample(key))
