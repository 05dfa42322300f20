"""Soft actor-critic (Haarnoja et al. 2018b) for continuous actions."""

import dataclasses
from collections.abc import Callable
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..envs.specs import EnvironmentSpecs, trajectory_spec, zeros
from ..envs.types import Array, Trajectory, Tree
from ..networks.continuous import half_range
from ..networks.critic import Ensemble
from ..policies.actor_policy import ActorPolicy
from ..policies.greedy import GreedyPolicy
from ..policies.policy import Policy
from . import losses
from .actor_critic import check_actor_critic, draw
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
class SacAgent:
    """Learns a stochastic policy that earns return and keeps its entropy, from replayed windows of
    n + 1 rows.

    The critics learn R + discount x (min_i Q_target_i(o', a') - alpha log pi(a'|o')), a' drawn from
    pi; the rewards within an n-step return carry no entropy. The actor minimises alpha log pi(a|o)
    - min_i Q_i(o, a). The temperature alpha is learned so that the entropy of pi tends to
      `target_entropy`. The three losses are summed into one, each with the others' parameters
    held constant: roles "actor", "critic", and "alpha" (its logarithm).

    Args:
      specs: the environment's; the action must be one `BoundedSpec` with finite bounds.
      actor: maps observations `[..., *shape]` to a distribution over actions, such as
        `networks.TanhNormalActor`.
      critic: maps observations and actions to values `[...]`, such as `networks.CriticNetwork`;
        there are `num_critics` of it.
      optimizer: an optax transformation, or a dict of them by role.
      gamma: discount factor per step; may be traced.
      n_step: steps n of a return.
      num_critics: critics, of whose values targets and actor take the lowest.
      temperature: alpha; where it starts, if it is learned.
      learn_temperature: False keeps alpha as it is; then there is no role "alpha".
      target_entropy: in nats, of the scaled action; None: minus the number of the action's
        components, plus the logarithm of half of each one's range: what the paper's -dim is for
        actions in -1..1, whatever the bounds.
      td_loss: maps TD errors to losses, elementwise: `losses.squared` or `losses.huber`; summed
        over critics.
      target_update: how the target critics follow: `polyak(tau)` or `periodic(n)`.

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
    temperature: float | Array = 1.0
    learn_temperature: bool = True
    target_entropy: float | Array | None = None
    td_loss: Callable[[Array], Array] = losses.squared
    target_update: TargetUpdate = polyak(0.005)

    def __post_init__(self):
        check_parts(self)
        check_actor_critic(
            "SacAgent",
            self.specs,
            self.actor,
            self.critic,
            "for discrete actions use DiscreteSacAgent",
        )
        check_numbers(
            "SacAgent",
            self.n_step,
            self.gamma,
            self.num_critics,
            self.temperature,
            self.learn_temperature,
        )

    __str__ = describe

    @property
    def train_sequence_length(self) -> int:
        return self.n_step + 1

    @cached_property
    def policy(self) -> Policy:
        return GreedyPolicy(self.collect_policy)

    @cached_property
    def collect_policy(self) -> Policy:
        return ActorPolicy(self.actor, self.specs.action)

    @cached_property
    def collect_data_spec(self) -> Trajectory:
        return trajectory_spec(self.specs)

    @cached_property
    def _critics(self) -> Ensemble:
        return Ensemble(self.critic, self.num_critics)

    @property
    def _target_entropy(self) -> Array | float:
        if self.target_entropy is not None:
            return self.target_entropy
        return float(np.sum(np.log(half_range(self.specs.action)) - 1.0))

    def init(self, key: Array) -> TrainState:
        actor_key, critic_key, key = jax.random.split(key, 3)
        observation, action = zeros((self.specs.observation, self.specs.action))
        critic = self._critics.init(critic_key, observation, action)
        params = {"actor": self.actor.init(actor_key, observation), "critic": critic}
        if self.learn_temperature:
            params["alpha"] = jnp.log(jnp.asarray(self.temperature, jnp.float32))
        return init_state(params, self.optimizer, key, target_params={"critic": critic})

    def policy_params(self, state: TrainState) -> Tree:
        return {
            "params": {role: state.params[role] for role in ("actor", "critic")},
            "step": state.step,
        }

    def q_values(self, params: Tree, observation: Tree, action: Array) -> Array:
        """Q of an action by each critic, `[num_critics, ...]`, from `policy_params`."""
        return self._critics.apply(params["params"]["critic"], observation, action)

    def value(self, params: Tree, observation: Tree) -> Array:
        """min_i Q_i of the greedy action, `[...]`, from `policy_params`."""
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
        """Mean losses of critics, actor and temperature, summed, on windows `[B, n_step + 1, ...]`.

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
        """One gradient step of all roles on windows `[B, n_step + 1, ...]`.

        Raises:
          ValueError: if the windows' length is not `train_sequence_length`, or weights are not
            `[B]`.
          SpecError: if the experience does not meet `collect_data_spec`.
        """
        check_experience(experience, self.collect_data_spec, self.train_sequence_length, weights)

        def loss_fn(params: Tree, key: Array) -> LossInfo:
            keys = example_keys(key, len(experience.step_type), shards)
            return self._loss(params, state, experience, keys, weights)

        return apply_loss(state, loss_fn, self.optimizer, follow(self.target_update), shards)

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
        alpha = jnp.exp(held["alpha"]) if self.learn_temperature else self.temperature
        keys_t, keys_tm1 = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)

        def mean(example_loss: Array) -> Array:
            return weighted_mean(example_loss * rows.mask, weights)

        a_t, log_prob_t = draw(self.actor.apply(held["actor"], rows.next_observation), keys_t)
        q_t = self._critics.apply(state.target_params["critic"], rows.next_observation, a_t)
        v_t = jax.vmap(losses.soft_value, in_axes=(1, 0, None))(q_t, log_prob_t, alpha)
        q_tm1 = self._critics.apply(params["critic"], rows.observation, rows.action)
        td_error = losses.td_target(rows.reward, rows.discount, v_t) - q_tm1
        critic_loss = mean(jnp.sum(self.td_loss(td_error), axis=0))

        a_tm1, log_prob_tm1 = draw(self.actor.apply(params["actor"], rows.observation), keys_tm1)
        q_actor = self._critics.apply(held["critic"], rows.observation, a_tm1)
        actor_loss = mean(
            jax.vmap(losses.sac_actor, in_axes=(1, 0, None))(q_actor, log_prob_tm1, alpha)
        )

        metrics = {"critic_loss": critic_loss, "actor_loss": actor_loss}
        metrics |= {"q": mean(q_tm1.mean(axis=0)), "entropy": mean(-log_prob_tm1)}
        loss = critic_loss + actor_loss
        if self.learn_temperature:
            alpha_loss = mean(
                losses.sac_temperature(params["alpha"], log_prob_tm1, self._target_entropy)
            )
            loss, metrics = loss + alpha_loss, metrics | {"alpha_loss": alpha_loss, "alpha": alpha}
        return LossInfo(loss, metrics, {"td_error": jnp.abs(td_error).mean(axis=0) * rows.mask})
