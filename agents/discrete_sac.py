"""Soft actor-critic for discrete actions (Christodoulou 2019)."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from ..envs.specs import EnvironmentSpecs, zeros
from ..envs.types import Array, Trajectory, Tree, split_action_mask
from . import losses
from .actor_critic import ActorCriticAgent
from .agent import LossInfo, Optimizer, Shards, TrainState, over_share, weighted_mean
from .checks import check_discrete, check_network, check_temperature, check_values_network
from .reductions import to_transition
from .sac import first_temperature
from .targets import TargetUpdate, polyak


@dataclasses.dataclass(frozen=True, eq=False)
class DiscreteSacAgent(ActorCriticAgent):
    """SAC whose expectations over actions are exact sums, so that a loss draws nothing.

    Otherwise it is like `SacAgent`. Action masks in observations hold when acting, in targets and
    in both losses of the policy; forbidden actions do not count.

    Args:
      specs: Specs of the environment; the action must be one `DiscreteSpec` with a single factor.
      actor: Network from observations `[..., *shape]`, with their action mask, to a `Categorical`,
        such as `networks.ActorNetwork`.
      critic: Network from observations without their mask to values `[..., num_actions]`, such as
        `networks.QNetwork`; there are `num_critics` of it.
      optimizer: An optax transformation, or a dict of them by role.
      gamma: Discount factor per step; may be traced.
      n_step: Number of steps n of a return; the rewards within it carry no entropy.
      num_critics: Number of critics; targets and actor take the lowest of their values.
      temperature: Alpha, or its first value if it is learned.
      learn_temperature: True to learn alpha; with False there is no role "alpha".
      target_entropy_ratio: Entropy that alpha is learned for, as a fraction of the greatest
        possible: the logarithm of the number of actions that an observation allows. The paper's is
        0.98; a lower one makes the policy more deterministic.
      td_loss: Function from TD errors to losses, elementwise: `losses.squared` or `losses.huber`;
        the losses are summed over critics.
      target_update: Function that moves the target critics: `polyak(tau)` or `periodic(n)`.

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
    temperature: float | Array = 1.0
    learn_temperature: bool = True
    target_entropy_ratio: float | Array = 0.98
    td_loss: Callable[[Array], Array] = losses.squared
    target_update: TargetUpdate = polyak(0.005)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_temperature(type(self).__name__, self.temperature, self.learn_temperature)

    def check_networks(self) -> None:
        """Raises a ValueError unless actions are discrete and the networks fit the specs."""
        name = type(self).__name__
        check_discrete(name, self.specs.action, "for continuous ones use SacAgent")
        check_network("actor", self.actor, (self.specs.observation,), ())
        check_values_network(self.critic, self.specs)

    def init_params(self, keys: Sequence[Array]) -> dict[str, Tree]:
        """The first parameters of actor, critics and, if it is learned, temperature."""
        actor_key, critic_key = keys
        observation = zeros(self.specs.observation)
        params = {
            "actor": self.actor.init(actor_key, observation),
            "critic": self.critics.init(critic_key, split_action_mask(observation)[0]),
        }
        return params | first_temperature(self.temperature) if self.learn_temperature else params

    def q_values(self, params: Tree, observation: Tree, action: Array | None = None) -> Array:
        """Q of every action by each critic; `params` are from `policy_params`.

        Returns:
          Values `[num_critics, ..., num_actions]`; with `action`, of that one `[num_critics, ...]`.
        """
        inputs, _ = split_action_mask(observation)
        values = self.critics.apply(params["params"]["critic"], inputs)
        if action is None:
            return values
        index = jnp.broadcast_to(action[..., None], (*values.shape[:-1], 1))
        return jnp.take_along_axis(values, index, axis=-1)[..., 0]

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
        """Mean losses of critics, actor and temperature, summed, on windows `[B, n_step + 1, ...]`.

        It draws nothing. `per_example["td_error"]` `[B]` is the mean of the critics' absolute TD
        errors.
        """
        rows = to_transition(experience, self.gamma, weights)
        mean = partial(weighted_mean, weights=weights, mask=rows.mask)
        held = jax.lax.stop_gradient(params)
        alpha = jnp.exp(held["alpha"]) if self.learn_temperature else self.temperature
        inputs, mask = split_action_mask(rows.observation)
        next_inputs, _ = split_action_mask(rows.next_observation)

        log_probs_t = self.actor.apply(held["actor"], rows.next_observation).log_probs
        q_t = self.critics.apply(state.target_params["critic"], next_inputs)
        v_t = jax.vmap(losses.discrete_soft_value, in_axes=(1, 0, None))(q_t, log_probs_t, alpha)
        q_tm1 = self.critics.apply(params["critic"], inputs)
        chosen = jax.vmap(jax.vmap(losses.index), in_axes=(0, None))(q_tm1, rows.action)
        td_error = losses.td_target(rows.reward, rows.discount, v_t)[None] - chosen
        critic_loss = mean(jnp.sum(self.td_loss(td_error), axis=0))

        policy = self.actor.apply(params["actor"], rows.observation)
        actor_losses = jax.vmap(losses.discrete_sac_actor, in_axes=(1, 0, None))(
            q_tm1, policy.log_probs, alpha
        )
        actor_loss = mean(actor_losses)
        entropy = policy.entropy()

        loss = critic_loss + actor_loss
        metrics = {
            "critic_loss": critic_loss,
            "actor_loss": actor_loss,
            "q": mean(chosen.mean(axis=0)),
            "entropy": mean(entropy),
        }
        if self.learn_temperature:
            allowed: Any = self.specs.action.num_values
            if mask is not None:
                allowed = jnp.maximum(jnp.sum(mask, axis=-1), 1)
            target = self.target_entropy_ratio * jnp.log(jnp.asarray(allowed, jnp.float32))
            alpha_loss = mean(losses.sac_temperature(params["alpha"], -entropy, target))
            loss += alpha_loss
            metrics["alpha_loss"] = alpha_loss
        share = weighted_mean(rows.mask, weights)
        metrics = over_share(metrics, share)
        if self.learn_temperature:
            metrics["alpha"] = alpha
        priority = jnp.abs(td_error).mean(axis=0)
        return LossInfo(loss, metrics, {"td_error": jnp.where(rows.mask > 0, priority, 0.0)}, share)
