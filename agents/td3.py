"""TD3 (Fujimoto et al. 2018), and DDPG (Lillicrap et al. 2016), which is TD3 without its three
parts.
"""

import dataclasses
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import optax

from ..envs.specs import EnvironmentSpecs, trajectory_spec, zeros
from ..envs.types import Array, Trajectory, Tree
from ..networks.continuous import half_range
from ..networks.critic import Ensemble
from ..policies.actor_policy import ActorPolicy
from ..policies.continuous import GaussianNoisePolicy, OrnsteinUhlenbeckPolicy
from ..policies.greedy import GreedyPolicy
from ..policies.policy import Policy
from ..policies.schedule import Schedule
from . import losses
from .actor_critic import check_actor_critic, unit_noise
from .agent import (
    LossInfo,
    Optimizer,
    Shards,
    TrainState,
    apply_loss,
    example_keys,
    init_state,
    weighted_mean,
)
from .checks import check_experience, check_numbers, check_parts
from .describe import describe
from .reductions import to_transition
from .targets import TargetUpdate, follow, polyak


@dataclasses.dataclass(frozen=True, eq=False)
class Td3Agent:
    """Learns a deterministic policy by the gradient of a learned critic, from replayed windows of n
    + 1 rows.

    The critics learn R + discount x min_i Q_target_i(o', a'), where a' is the target actor's action
    plus clipped noise, within the bounds. The actor climbs the first critic. It, and all target
    networks, move after every `actor_delay` updates only. Noise is in units of half the range of
    each action, so its scale means the same whatever the bounds.

    Args:
      specs: the environment's; the action must be one `BoundedSpec` with finite bounds.
      actor: maps observations `[..., *shape]` to a distribution, whose mode is the action:
        `networks.DeterministicActor`.
      critic: maps observations and actions to values `[...]`, such as `networks.CriticNetwork`;
        there are `num_critics` of it.
      optimizer: an optax transformation, or a dict of them by role ("actor", "critic").
      gamma: discount factor per step; may be traced.
      n_step: steps n of a return.
      num_critics: critics, of whose values targets take the lowest.
      actor_delay: updates of the critics for each of the actor.
      target_noise: standard deviation of the noise on target actions; None: they are taken as they
        are.
      target_noise_clip: the most that this noise may be.
      exploration_noise: standard deviation of the noise when collecting; a float, or a schedule of
        the update count.
      exploration_damping: None for independent noise; a number for Ornstein-Uhlenbeck noise
        (`OrnsteinUhlenbeckPolicy`).
      td_loss: maps TD errors to losses, elementwise: `losses.squared` or `losses.huber`; summed
        over critics.
      target_update: how the targets follow: `polyak(tau)` or `periodic(n)`.

    Raises:
      TypeError: if `specs`, the optimizer or a function is something else.
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

    def __post_init__(self):
        check_parts(self)
        name, instead = type(self).__name__, "for discrete actions use DqnAgent or DiscreteSacAgent"
        check_actor_critic(name, self.specs, self.actor, self.critic, instead)
        check_numbers(name, self.n_step, self.gamma, self.num_critics)
        if self.actor_delay < 1:
            raise ValueError(f"{name}: expected actor_delay >= 1, got {self.actor_delay}")

    __str__ = describe

    @property
    def train_sequence_length(self) -> int:
        return self.n_step + 1

    @cached_property
    def policy(self) -> Policy:
        return GreedyPolicy(ActorPolicy(self.actor, self.specs.action))

    @cached_property
    def collect_policy(self) -> Policy:
        spec, scale = self.specs.action, self.exploration_noise
        if self.exploration_damping is None:
            return GaussianNoisePolicy(self.policy, spec, scale)
        return OrnsteinUhlenbeckPolicy(self.policy, spec, scale, self.exploration_damping)

    @cached_property
    def collect_data_spec(self) -> Trajectory:
        return trajectory_spec(self.specs)

    @cached_property
    def _critics(self) -> Ensemble:
        return Ensemble(self.critic, self.num_critics)

    @cached_property
    def _optimizers(self) -> Optimizer:
        """The optimizer by role, the actor's such that it acts on every `actor_delay`-th update and
        is still on others.
        """
        if self.actor_delay == 1:
            return self.optimizer
        given = (
            self.optimizer
            if isinstance(self.optimizer, Mapping)
            else dict.fromkeys(("actor", "critic"), self.optimizer)
        )
        if "actor" not in given:
            return given  # `by_role` says what is missing
        due = lambda step: (step + 1) % self.actor_delay == 0
        return {**given, "actor": optax.conditionally_mask(given["actor"], due)}

    def init(self, key: Array) -> TrainState:
        actor_key, critic_key, key = jax.random.split(key, 3)
        observation, action = zeros((self.specs.observation, self.specs.action))
        actor, critic = (
            self.actor.init(actor_key, observation),
            self._critics.init(critic_key, observation, action),
        )
        params = {"actor": actor, "critic": critic}
        return init_state(params, self._optimizers, key, target_params=params)

    def policy_params(self, state: TrainState) -> Tree:
        return {"params": state.params, "step": state.step}

    def q_values(self, params: Tree, observation: Tree, action: Array) -> Array:
        """Q of an action by each critic, `[num_critics, ...]`, from `policy_params`."""
        return self._critics.apply(params["params"]["critic"], observation, action)

    def value(self, params: Tree, observation: Tree) -> Array:
        """min_i Q_i of the actor's action, `[...]`, from `policy_params`."""
        action = self.actor.apply(params["params"]["actor"], observation).mode()
        return jnp.min(self.q_values(params, observation, action), axis=0)

    def loss(
        self,
        params: Tree,
        state: TrainState,
        experience: Trajectory,
        key: Array,
        weights: Array | None = None,
    ) -> LossInfo:
        """Mean losses of critics and actor, summed, on windows `[B, n_step + 1, ...]`.

        `per_example["td_error"]` `[B]` is the mean of the critics' absolute TD errors.
        """
        return self._loss(
            params, state, experience, example_keys(key, len(experience.step_type)), weights
        )

    def train(
        self,
        state: TrainState,
        experience: Trajectory,
        weights: Array | None = None,
        *,
        shards: Shards | None = None,
    ) -> tuple[TrainState, LossInfo]:
        """One gradient step on windows `[B, n_step + 1, ...]`; the actor moves if it is due.

        Raises:
          ValueError: if the windows' length is not `train_sequence_length`, or weights are not
            `[B]`.
          SpecError: if the experience does not meet `collect_data_spec`.
        """
        check_experience(experience, self.collect_data_spec, self.train_sequence_length, weights)

        def loss_fn(params: Tree, key: Array) -> LossInfo:
            keys = example_keys(key, len(experience.step_type), shards)
            return self._loss(params, state, experience, keys, weights)

        return apply_loss(
            state,
            loss_fn,
            self._optimizers,
            follow(self.target_update, self.actor_delay),
            shards,
        )

    def _loss(
        self,
        params: Tree,
        state: TrainState,
        experience: Trajectory,
        keys: Array,
        weights: Array | None,
    ) -> LossInfo:
        rows = to_transition(experience, self.gamma)
        held = jax.lax.stop_gradient(params)

        def mean(example_loss: Array) -> Array:
            return weighted_mean(example_loss * rows.mask, weights)

        a_t = self.actor.apply(state.target_params["actor"], rows.next_observation).mode()
        if self.target_noise is not None:
            spec, unit = self.specs.action, half_range(self.specs.action)
            noise = self.target_noise * unit * unit_noise(keys, spec)
            a_t = losses.smoothed_action(
                a_t, noise, self.target_noise_clip * unit, spec.low, spec.high
            )
        q_t = self._critics.apply(state.target_params["critic"], rows.next_observation, a_t)
        target = jax.vmap(losses.clipped_double_q_target, in_axes=(0, 0, 1))(
            rows.reward, rows.discount, q_t
        )
        q_tm1 = self._critics.apply(params["critic"], rows.observation, rows.action)
        td_error = target - q_tm1
        critic_loss = mean(jnp.sum(self.td_loss(td_error), axis=0))

        a_tm1 = self.actor.apply(params["actor"], rows.observation).mode()
        first = self._critics.member(held["critic"], 0)
        actor_loss = mean(losses.dpg(self.critic.apply(first, rows.observation, a_tm1)))

        metrics = {
            "critic_loss": critic_loss,
            "actor_loss": actor_loss,
            "q": mean(q_tm1.mean(axis=0)),
        }
        return LossInfo(
            critic_loss + actor_loss,
            metrics,
            {"td_error": jnp.abs(td_error).mean(axis=0) * rows.mask},
        )


@dataclasses.dataclass(frozen=True, eq=False)
class DdpgAgent(Td3Agent):
    """DDPG: `Td3Agent` with one critic, no delay and no noise on target actions. All fields are as
    there.

    The paper's exploration is `exploration_damping=0.15` with `exploration_noise=0.2`; the default
    is independent noise.
    """

    num_critics: int = 1
    actor_delay: int = 1
    target_noise: float | Array | None = None
