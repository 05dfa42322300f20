"""Policies that draw actions from an actor's distributions, as on-policy agents store them."""

import dataclasses
from functools import partial
from typing import Any

import jax.numpy as jnp

from ..envs.specs import ArraySpec, BoundedSpec, Spec
from ..envs.types import Array, PolicyStep, TimeStep, Trajectory, Tree
from ..networks import recurrent
from ..networks.continuous import clip_to_spec
from ..networks.normalizer import normalize_observation
from .wrapper import PolicyWrapper


@dataclasses.dataclass(frozen=True, eq=False)
class ActorPolicy:
    """Draws actions from a network's distributions; wrap it in `GreedyPolicy` for their modes.

    Observations are normalised first if the parameters have `"observation_statistics"`. Actions are
    clipped to the spec's bounds. Of a recurrent network the policy's state is the carry, which is
    reset at every FIRST time step.

    Args:
      network: Network from observations `[..., *shape]`, with their action mask, to a distribution,
        or to a tuple that starts with one; with memory from (observations `[..., T, *shape]`,
        resets `[..., T]`, carry) to that and the next carry.
      spec: Spec of the actions, one spec.
      role: Role of the network among the parameters.
      info: Store with each row the `"log_prob"` of the action that was drawn; that action as
        `"drawn_action"` where it may have been outside the bounds, since a loss needs its
        probability and not that of a bound; and the `"carry"` that the row starts with, if any.
    """

    network: Any
    spec: Spec
    role: str = "actor"
    info: bool = False

    @property
    def info_spec(self) -> dict[str, Tree]:
        """The spec of what is stored with each row."""
        spec: dict[str, Tree] = {}
        if self.info:
            spec["log_prob"] = ArraySpec(())
            if self._clips:
                spec["drawn_action"] = ArraySpec(self.spec.shape, self.spec.dtype)
            if recurrent.is_recurrent(self.network):
                spec["carry"] = recurrent.carry_spec(self.network)
        return spec

    def initial_state(self, batch_shape: tuple[int, ...] = ()) -> Tree:
        """The network's first carry; () without memory."""
        return recurrent.initial_state(self.network, batch_shape)

    def distribution(self, params: Tree, time_step: TimeStep, state: Tree = ()) -> PolicyStep:
        """The network's distribution."""
        observation = normalize_observation(params, time_step.observation)
        apply = partial(self.network.apply, params["params"][self.role])
        if recurrent.is_recurrent(self.network):
            outputs, state = recurrent.step(apply, observation, time_step.is_first(), state)
        else:
            outputs = apply(observation)
        return PolicyStep(outputs[0] if isinstance(outputs, tuple) else outputs, state)

    def action(
        self, params: Tree, time_step: TimeStep, state: Tree = (), key: Array | None = None
    ) -> PolicyStep:
        """Draws an action, clipped to the bounds."""
        distribution, next_state, _ = self.distribution(params, time_step, state)
        drawn = distribution.sample(key).astype(self.spec.dtype)
        action = clip_to_spec(drawn, self.spec)
        if not self.info:
            return PolicyStep(action, next_state)
        # The log-probability is that of the action as it is stored, rounded: as a loss computes it.
        info = {"log_prob": distribution.log_prob(drawn)}
        if self._clips:
            info["drawn_action"] = drawn
        if recurrent.is_recurrent(self.network):
            info["carry"] = state
        return PolicyStep(action, next_state, info)

    @property
    def _clips(self) -> bool:
        return isinstance(self.spec, BoundedSpec)


def drawn_actions(rows: Trajectory) -> Array:
    """The actions that `ActorPolicy` drew, before it clipped them, `[B, T, *shape]`."""
    return rows.policy_info.get("drawn_action", rows.action)


@dataclasses.dataclass(frozen=True, eq=False)
class ReturnTrackingPolicy(PolicyWrapper):
    """Another policy, whose rows store their `"discounted_return"`, for reward normalisation.

    Row t stores G_t = r_t + gamma G_{t-1}, where r_t is the reward that came with its observation;
    it is 0 on a FIRST row. The sum is a part of the policy's state, so it is kept for every
    environment in every runner, and goes on across segments.

    Args:
      policy: Policy that acts; its info must be a dict.
      gamma: Discount factor per step.
    """

    policy: ActorPolicy
    gamma: float | Array

    @property
    def info_spec(self) -> dict[str, Tree]:
        """The spec of what is stored with each row."""
        return {**self.policy.info_spec, "discounted_return": ArraySpec(())}

    def initial_state(self, batch_shape: tuple[int, ...] = ()) -> Tree:
        """The initial state of the wrapped policy, and a sum of 0."""
        return self.policy.initial_state(batch_shape), jnp.zeros(batch_shape, jnp.float32)

    def distribution(self, params: Tree, time_step: TimeStep, state: Tree = ()) -> PolicyStep:
        """The distribution of the wrapped policy."""
        step = self.policy.distribution(params, time_step, state[0])
        return step._replace(state=(step.state, self._sum(time_step, state[1])))

    def action(
        self, params: Tree, time_step: TimeStep, state: Tree = (), key: Array | None = None
    ) -> PolicyStep:
        """The action of the wrapped policy, with the sum in its info."""
        step = self.policy.action(params, time_step, state[0], key)
        total = self._sum(time_step, state[1])
        info = {**step.info, "discounted_return": total}
        return PolicyStep(step.action, (step.state, total), info)

    def _sum(self, time_step: TimeStep, total: Array) -> Array:
        total = time_step.reward + self.gamma * total
        return jnp.where(time_step.is_first(), 0.0, total).astype(jnp.float32)
