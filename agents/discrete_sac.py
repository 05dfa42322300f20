"""Soft actor-critic for discrete actions (Christodoulou 2019)."""

import dataclasses
from collections.abc import Callable
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp

from ..envs.specs import DiscreteSpec, EnvironmentSpecs, trajectory_spec, zeros
from ..envs.types import Array, Trajectory, Tree, split_action_mask
from ..networks.critic import Ensemble
from ..policies.actor_policy import ActorPolicy
from ..policies.greedy import GreedyPolicy
from ..policies.policy import Policy
from . import losses
from .agent import LossInfo, Optimizer, Shards, TrainState, apply_loss, init_state, weighted_mean
from .checks import (
    check_experience,
    check_network,
    check_numbers,
    check_parts,
    check_values_network,
)
from .describe import describe
from .reductions import to_transition
from .targets import TargetUpdate, follow, polyak


@dataclasses.dataclass(frozen=True, eq=False)
class DiscreteSacAgent:
    """SAC whose expectations over actions are exact sums, so that nothing is drawn in a loss.
    Otherwise as `SacAgent`.

    Action masks in observations hold when acting, in targets and in both losses of the policy;
    forbidden actions count nothing.

    Args:
      specs: the environment's; the action must be one `DiscreteSpec` with a single factor.
      actor: maps observations `[..., *shape]`, with their action mask, to a `Categorical`, such as
        `networks.ActorNetwork`.
      critic: maps observations without their mask to values `[..., num_actions]`, such as
        `networks.QNetwork`; there are `num_critics` of it.
      optimizer: an optax transformation, or a dict of them by role.
      gamma: discount factor per step; may be traced.
      n_step: steps n of a return; the rewards within it carry no entropy.
      num_critics: critics, of whose values targets and actor take the lowest.
      temperature: alpha; where it starts, if it is learned.
      learn_temperature: False keeps alpha as it is; then there is no role "alpha".
      target_entropy_ratio: the entropy that alpha is learned for, as a part of the greatest
        possible: the logarithm of how many actions an observation allows. The paper's is 0.98;
        lower ones make for a more decided policy.
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
    target_entropy_ratio: float | Array = 0.98
    td_loss: Callable[[Array], Array] = losses.squared
    target_update: TargetUpdate = polyak(0.005)

    def __post_init__(self):
        check_parts(self)
        action = self.specs.action
        if not isinstance(action, DiscreteSpec) or action.shape:
            raise ValueError(
                f"DiscreteSacAgent: expected one discrete action (DiscreteSpec), got {action}; "
                "for continuous ones use SacAgent"
            )
        check_numbers(
            "DiscreteSacAgent",
            self.n_step,
            self.gamma,
            self.num_critics,
            self.temperature,
            self.learn_temperature,
        )
        check_network(
            "actor",
            self.actor,
            (zeros(self.specs.observation),),
            (zeros(self.specs.observation, (2, 3)),),
            (),
        )
        check_values_network(self.critic, self.specs)

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

    def init(self, key: Array) -> TrainState:
        actor_key, critic_key, key = jax.random.split(key, 3)
        observation = zeros(self.specs.observation)
        critic = self._critics.init(critic_key, split_action_mask(observation)[0])
        params = {"actor": self.actor.init(actor_key, observation), "critic": critic}
        if self.learn_temperature:
            params["alpha"] = jnp.log(jnp.asarray(self.temperature, jnp.float32))
        return init_state(params, self.optimizer, key, target_params={"critic": critic})

    def policy_params(self, state: TrainState) -> Tree:
        return {
            "params": {role: state.params[role] for role in ("actor", "critic")},
            "step": state.step,
        }

    def q_values(self, params: Tree, observation: Tree) -> Array:
        """Q of every action by each critic, `[num_critics, ..., num_actions]`, from
        `policy_params`.
        """
        return self._critics.apply(params["params"]["critic"], split_action_mask(observation)[0])

    def value(self, params: Tree, observation: Tree) -> Array:
        """min_i Q_i of the greedy action, `[...]`, from `policy_params`."""
        action = self.actor.apply(params["params"]["actor"], observation).mode()
        values = jnp.min(self.q_values(params, observation), axis=0)
        return jnp.take_along_axis(values, action[..., None], axis=-1)[..., 0]

    def loss(
        self,
        params: Tree,
        state: TrainState,
        experience: Trajectory,
        key: Array,
        weights: Array | None = None,
    ) -> LossInfo:
        """Mean losses of critics, actor and temperature, summed, on windows `[B, n_step + 1, ...]`;
        needs no randomness.

        `per_example["td_error"]` `[B]` is the mean of the critics' absolute TD errors.
        """
        rows = to_transition(experience, self.gamma)
        held = jax.lax.stop_gradient(params)
        alpha = jnp.exp(held["alpha"]) if self.learn_temperature else self.temperature
        observation, mask = split_action_mask(rows.observation)
        next_observation, _ = split_action_mask(rows.next_observation)

        def mean(example_loss: Array) -> Array:
            return weighted_mean(example_loss * rows.mask, weights)

        log_probs_t = self.actor.apply(held["actor"], rows.next_observation).log_probs
        q_t = self._critics.apply(state.target_params["critic"], next_observation)
        v_t = jax.vmap(losses.discrete_soft_value, in_axes=(1, 0, None))(q_t, log_probs_t, alpha)
        q_tm1 = self._critics.apply(params["critic"], observation)
        chosen = jax.vmap(jax.vmap(losses.index), in_axes=(0, None))(q_tm1, rows.action)
        td_error = losses.td_target(rows.reward, rows.discount, v_t) - chosen
        critic_loss = mean(jnp.sum(self.td_loss(td_error), axis=0))

        policy = self.actor.apply(params["actor"], rows.observation)
        actor_loss = mean(
            jax.vmap(losses.discrete_sac_actor, in_axes=(1, 0, None))(
                q_tm1, policy.log_probs, alpha
            )
        )

        entropy = policy.entropy()
        metrics = {"critic_loss": critic_loss, "actor_loss": actor_loss}
        metrics |= {"q": mean(chosen.mean(axis=0)), "entropy": mean(entropy)}
        loss = critic_loss + actor_loss
        if self.learn_temperature:
            allowed = (
                self.specs.action.num_values
                if mask is None
                else jnp.maximum(jnp.sum(mask, axis=-1), 1)
            )
            alpha_loss = mean(
                losses.sac_temperature(
                    params["alpha"], -entropy, self.target_entropy_ratio * jnp.log(allowed)
                )
            )
            loss, metrics = loss + alpha_loss, metrics | {"alpha_loss": alpha_loss, "alpha": alpha}
        return LossInfo(loss, metrics, {"td_error": jnp.abs(td_error).mean(axis=0) * rows.mask})

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
        loss_fn = lambda params, key: self.loss(params, state, experience, key, weights)
        return apply_loss(state, loss_fn, self.optimizer, follow(self.target_update), shards)
