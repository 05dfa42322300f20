"""TD3 (Fujimoto et al. 2018), and DDPG (Lillicrap et al. 2016), which lacks its modifications."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax

from ..envs.specs import EnvironmentSpecs
from ..envs.types import Array, Trajectory, Tree
from ..networks.continuous import half_range
from ..policies.actor_policy import ActorPolicy
from ..policies.continuous import GaussianNoisePolicy, OrnsteinUhlenbeckPolicy
from ..policies.greedy import GreedyPolicy
from ..policies.policy import Policy
from ..policies.schedule import Schedule
from . import losses
from .actor_critic import ActorCriticAgent, unit_noise
from .agent import LossInfo, Optimizer, Shards, TrainState, example_keys, over_share, weighted_mean
from .reductions import to_transition
from .targets import TargetUpdate, delayed, polyak


@dataclasses.dataclass(frozen=True, eq=False)
class Td3Agent(ActorCriticAgent):
    """Learns a deterministic policy by the gradient of a learned critic, from replayed windows.

    The critics learn R + discount x min_i Q_target_i(o', a'), where a' is the target actor's action
    plus clipped noise, within the bounds. The actor climbs the first critic. It moves after every
    `actor_delay` updates only, and so do all target networks, unless they are copied by
    `periodic(n)`, which is after every n updates of the critics. Noise is in units of half the
    range of each action, so its scale means the same whatever the bounds.

    Args:
      specs: Specs of the environment; the action must be one `BoundedSpec` with finite bounds.
      actor: Network from observations `[..., *shape]` to a distribution, whose mode is the action:
        `networks.DeterministicActor`.
      critic: Network from observations and actions to values `[...]`, such as
        `networks.CriticNetwork`; there are `num_critics` of it.
      optimizer: An optax transformation, or a dict of them by role ("actor", "critic").
      gamma: Discount factor per step; may be traced.
      n_step: Number of steps n of a return; windows have n + 1 rows.
      num_critics: Number of critics; targets take the lowest of their values.
      actor_delay: Number of updates of the critics for each of the actor.
      target_noise: Standard deviation of the noise on target actions; None for no noise.
      target_noise_clip: Greatest magnitude of this noise.
      exploration_noise: Standard deviation of the noise when collecting; a float, or a schedule of
        the update count.
      exploration_damping: Damping of Ornstein-Uhlenbeck noise (`OrnsteinUhlenbeckPolicy`); None for
        independent noise.
      td_loss: Function from TD errors to losses, elementwise: `losses.squared` or `losses.huber`;
        the losses are summed over critics.
      target_update: Function that moves the targets: `polyak(tau)`, after every `actor_delay`
        updates, as another function of your own; or `periodic(n)`, after every n updates.

    Raises:
      TypeError: if `specs`, the optimizer or a function is of another kind.
      ValueError: if the action spec or a network's output does not fit, or a number is out of its
        range.
    """

    specs: EnvironmentSpecs
    actor: Any
    critic: Any
    optimizer: Optimizer
    gamma: float | Array = 0.99
    n_step: int = 1
    num_critics: int = 2
    actor_delay: int = 2
    target_noise: float | Array | None = 0.2
    target_noise_clip: float | Array = 0.5
    exploration_noise: float | Schedule = 0.1
    exploration_damping: float | None = None
    td_loss: Callable[[Array], Array] = losses.squared
    target_update: TargetUpdate = polyak(0.005)

    target_roles: ClassVar[tuple[str, ...]] = ("actor", "critic")

    @cached_property
    def policy(self) -> Policy:
        """The policy to evaluate and to deploy: the actor's action."""
        return GreedyPolicy(ActorPolicy(self.actor, self.specs.action))

    @cached_property
    def collect_policy(self) -> Policy:
        """The policy that gathers experience: the actor's action plus noise."""
        spec: Any = self.specs.action
        scale = self.exploration_noise
        if self.exploration_damping is None:
            return GaussianNoisePolicy(self.policy, spec, scale)
        return OrnsteinUhlenbeckPolicy(self.policy, spec, scale, self.exploration_damping)

    @cached_property
    def role_optimizers(self) -> Optimizer:
        """The optimizer by role; the actor's acts on every `actor_delay`-th update only."""
        if self.actor_delay == 1:
            return self.optimizer
        given = self.optimizer
        if not isinstance(given, Mapping):
            given = dict.fromkeys(self.roles, given)
        if "actor" not in given:
            return given  # `by_role` says what is missing
        due = lambda step: (step + 1) % self.actor_delay == 0
        return {**given, "actor": optax.conditionally_mask(given["actor"], due)}

    @cached_property
    def follow_targets(self) -> TargetUpdate:
        """The target update, with the delay; see `targets.delayed`."""
        return delayed(self.target_update, self.actor_delay)

    def loss(
        self,
        params: Tree,
        state: TrainState,
        experience: Trajectory,
        key: Array,
        weights: Array | None = None,
        *,
        shards: Shards | None = None,
    ) -> LossInfo:
        """Mean losses of critics and actor, summed, on windows `[B, n_step + 1, ...]`.

        `per_example["td_error"]` `[B]` is the mean of the critics' absolute TD errors.
        """
        rows = to_transition(experience, self.gamma, weights)
        mean = partial(weighted_mean, weights=weights, mask=rows.mask)
        held = jax.lax.stop_gradient(params)

        a_t = self.actor.apply(state.target_params["actor"], rows.next_observation).mode()
        if self.target_noise is not None:
            spec: Any = self.specs.action
            unit, low, high = (x[None] for x in (half_range(spec), spec.low, spec.high))
            keys = example_keys(key, len(experience.step_type), shards)
            noise = self.target_noise * unit * unit_noise(keys, spec)
            clip = self.target_noise_clip * unit
            a_t = losses.smoothed_action(a_t, noise, clip, low, high)
        q_t = self.critics.apply(state.target_params["critic"], rows.next_observation, a_t)
        target = jax.vmap(losses.clipped_double_q_target, in_axes=(0, 0, 1))(
            rows.reward, rows.discount, q_t
        )
        q_tm1 = self.critics.apply(params["critic"], rows.observation, rows.action)
        td_error = target[None] - q_tm1
        critic_loss = mean(jnp.sum(self.td_loss(td_error), axis=0))

        a_tm1 = self.actor.apply(params["actor"], rows.observation).mode()
        first = self.critics.member(held["critic"], 0)
        actor_loss = mean(losses.dpg(self.critic.apply(first, rows.observation, a_tm1)))

        metrics = {
            "critic_loss": critic_loss,
            "actor_loss": actor_loss,
            "q": mean(q_tm1.mean(axis=0)),
        }
        share = weighted_mean(rows.mask, weights)
        priority = jnp.abs(td_error).mean(axis=0)
        per_example = {"td_error": jnp.where(rows.mask > 0, priority, 0.0)}
        return LossInfo(critic_loss + actor_loss, over_share(metrics, share), per_example, share)


@dataclasses.dataclass(frozen=True, eq=False)
class DdpgAgent(Td3Agent):
    """DDPG: `Td3Agent` with one critic, no delay and no noise on target actions.

    All arguments are those of `Td3Agent`. The paper's exploration is `exploration_damping=0.15`
    with `exploration_noise=0.2`; the default is independent noise.
    """

    num_critics: int = 1
    actor_delay: int = 1
    target_noise: float | Array | None = None
