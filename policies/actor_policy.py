"""Policies that draw actions from an actor's distributions, and what on-policy agents store with
them.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp

from ..envs.specs import ArraySpec, BoundedSpec, Spec
from ..envs.types import Array, PolicyStep, TimeStep, Trajectory, Tree
from ..networks.continuous import clip_to_spec
from ..networks.normalizer import normalize_observation


@dataclasses.dataclass(frozen=True, eq=False)
class ActorPolicy:
    """Draws actions from the distributions that a network gives; wrap it in `GreedyPolicy` for
    their modes.

    Observations are normalised first if the parameters carry `"observation_statistics"`. Actions
    are clipped to the spec's bounds. With `info` each row stores the `"log_prob"` of the action
    that was drawn, and that action as `"drawn_action"` where it may have been outside the bounds: a
    loss needs its probability, not that of a bound.

    Args:
      network: maps observations `[..., *shape]`, with their action mask, to a distribution, or to a
        tuple that starts with one.
      spec: the actions', one spec.
      role: the network's name among the parameters.
      info: whether to store what is said above; see `info_spec`.
    """

    network: Any
    spec: Spec
    role: str = "actor"
    info: bool = False

    @property
    def info_spec(self) -> dict[str, Spec]:
        """The spec of what is stored with each row."""
        if not self.info:
            return {}
        drawn = {"drawn_action": ArraySpec(self.spec.shape, self.spec.dtype)} if self._clips else {}
        return {"log_prob": ArraySpec(()), **drawn}

    def initial_state(self, batch_shape: tuple[int, ...] = ()) -> Tree:
        return ()

    def distribution(self, params: Tree, time_step: TimeStep, state: Tree = ()) -> PolicyStep:
        observation = normalize_observation(params, time_step.observation)
        outputs = self.network.apply(params["params"][self.role], observation)
        return PolicyStep(outputs[0] if isinstance(outputs, tuple) else outputs, state)

    def action(
        self, params: Tree, time_step: TimeStep, state: Tree = (), key: Array | None = None
    ) -> PolicyStep:
        distribution, next_state, _ = self.distribution(params, time_step, state)
        drawn = distribution.sample(key).astype(self.spec.dtype)
        action = clip_to_spec(drawn, self.spec)
        if not self.info:
            return PolicyStep(action, next_state)
        info = {
            "log_prob": distribution.log_prob(drawn)
        }  # of the action as it is stored, rounded: what a loss computes again
        return PolicyStep(
            action, next_state, info | {"drawn_action": drawn} if self._clips else info
        )

    @property
    def _clips(self) -> bool:
        return isinstance(self.spec, BoundedSpec)


def drawn_actions(rows: Trajectory) -> Array:
    """The actions that `ActorPolicy` drew, before it clipped them to their bounds,
    `[B, T, *shape]`.
    """
    return rows.policy_info.get("drawn_action", rows.action)


@dataclasses.dataclass(frozen=True, eq=False)
class ReturnTrackingPolicy:
    """Another policy, which also sums up discounted rewards: its rows store `"discounted_return"`,
    for reward normalisation.

    Row t stores G_t = r_t + gamma G_{t-1}, where r_t is the reward that came with its observation;
    it is 0 on a FIRST row. Being a part of the policy's state, the sum is kept for every
    environment in every runner, and goes on across segments.

    Args:
      policy: what acts; its info must be a dict.
      gamma: discount factor per step.
    """

    policy: ActorPolicy
    gamma: float | Array

    @property
    def spec(self) -> Spec:
        """The actions'."""
        return self.policy.spec

    @property
    def info_spec(self) -> dict[str, Spec]:
        """The spec of what is stored with each row."""
        return {**self.policy.info_spec, "discounted_return": ArraySpec(())}

    def initial_state(self, batch_shape: tuple[int, ...] = ()) -> Tree:
        return self.policy.initial_state(batch_shape), jnp.zeros(batch_shape, jnp.float32)

    def distribution(self, params: Tree, time_step: TimeStep, state: Tree = ()) -> PolicyStep:
        step = self.policy.distribution(params, time_step, state[0])
        return step._replace(state=(step.state, self._sum(time_step, state[1])))

    def action(
        self, params: Tree, time_step: TimeStep, state: Tree = (), key: Array | None = None
    ) -> PolicyStep:
        step = self.policy.action(params, time_step, state[0], key)
        total = self._sum(time_step, state[1])
        return PolicyStep(
            step.action, (step.state, total), {**step.info, "discounted_return": total}
        )

    def _sum(self, time_step: TimeStep, total: Array) -> Array:
        return jnp.where(time_step.is_first(), 0.0, time_step.reward + self.gamma * total).astype(
            jnp.float32
        )
