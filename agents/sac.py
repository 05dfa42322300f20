"""Soft actor-critic (Haarnoja et al. 2018b) for continuous actions."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..envs.specs import EnvironmentSpecs
from ..envs.types import Array, Trajectory, Tree
from ..networks.continuous import half_range
from . import losses
from .actor_critic import ActorCriticAgent, sample_and_log_prob
from .agent import LossInfo, Optimizer, Shards, TrainState, example_keys, over_share, weighted_mean
from .checks import check_temperature
from .reductions import to_transition
from .targets import TargetUpdate, polyak


@dataclasses.dataclass(frozen=True, eq=False)
class SacAgent(ActorCriticAgent):
    """Learns a stochastic policy that earns return and keeps its entropy, from replayed windows.

    The critics learn R + discount x (min_i Q_target_i(o', a') - alpha log pi(a'|o')), with a' drawn
    from pi; the rewards within an n-step return carry no entropy. The actor minimises
    alpha log pi(a|o) - min_i Q_i(o, a). The temperature alpha is learned so that the entropy of pi
    tends to `target_entropy`. The three losses are summed into one, each with the others'
    parameters held constant: roles "actor", "critic", and "alpha" (its logarithm).

    Args:
      specs: Specs of the environment; the action must be one `BoundedSpec` with finite bounds.
      actor: Network from observations `[..., *shape]` to a distribution over actions, such as
        `networks.TanhNormalActor`.
      critic: Network from observations and actions to values `[...]`, such as
        `networks.CriticNetwork`; there are `num_critics` of it.
      optimizer: An optax transformation, or a dict of them by role.
      gamma: Discount factor per step; may be traced.
      n_step: Number of steps n of a return; windows have n + 1 rows.
      num_critics: Number of critics; targets and actor take the lowest of their values.
      temperature: Alpha, or its first value if it is learned.
      learn_temperature: True to learn alpha; with False there is no role "alpha".
      target_entropy: Entropy in nats, of the scaled action, that alpha is learned for. By default
        minus the number of the action's components, plus the logarithm of half of each one's range.
        For actions in -1..1 that is the paper's -dim.
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
    target_entropy: float | Array | None = None
    td_loss: Callable[[Array], Array] = losses.squared
    target_update: TargetUpdate = polyak(0.005)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_temperature(type(self).__name__, self.temperature, self.learn_temperature)

    def init_params(self, keys: Sequence[Array]) -> dict[str, Tree]:
        """The first parameters of actor, critics and, if it is learned, temperature."""
        params = super().init_params(keys)
        return params | first_temperature(self.temperature) if self.learn_temperature else params

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

        `per_example["td_error"]` `[B]` is the mean of the critics' absolute TD errors.
        """
        rows = to_transition(experience, self.gamma, weights)
        mean = partial(weighted_mean, weights=weights, mask=rows.mask)
        held = jax.lax.stop_gradient(params)
        alpha = jnp.exp(held["alpha"]) if self.learn_temperature else self.temperature
        keys = example_keys(key, len(experience.step_type), shards)
        keys_t, keys_tm1 = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)

        policy_t = self.actor.apply(held["actor"], rows.next_observation)
        a_t, log_prob_t = sample_and_log_prob(policy_t, keys_t)
        q_t = self.critics.apply(state.target_params["critic"], rows.next_observation, a_t)
        v_t = jax.vmap(losses.soft_value, in_axes=(1, 0, None))(q_t, log_prob_t, alpha)
        q_tm1 = self.critics.apply(params["critic"], rows.observation, rows.action)
        td_error = losses.td_target(rows.reward, rows.discount, v_t)[None] - q_tm1
        critic_loss = mean(jnp.sum(self.td_loss(td_error), axis=0))

        policy_tm1 = self.actor.apply(params["actor"], rows.observation)
        a_tm1, log_prob_tm1 = sample_and_log_prob(policy_tm1, keys_tm1)
        q_actor = self.critics.apply(held["critic"], rows.observation, a_tm1)
        actor_losses = jax.vmap(losses.sac_actor, in_axes=(1, 0, None))(
            q_actor, log_prob_tm1, alpha
        )
        actor_loss = mean(actor_losses)

        loss = critic_loss + actor_loss
        metrics = {
            "critic_loss": critic_loss,
            "actor_loss": actor_loss,
            "q": mean(q_tm1.mean(axis=0)),
            "entropy": mean(-log_prob_tm1),
        }
        if self.learn_temperature:
            target = self._target_entropy
            alpha_loss = mean(losses.sac_temperature(params["alpha"], log_prob_tm1, target))
            loss += alpha_loss
            metrics["alpha_loss"] = alpha_loss
        share = weighted_mean(rows.mask, weights)
        metrics = over_share(metrics, share)
        if self.learn_temperature:
            metrics["alpha"] = alpha
        priority = jnp.abs(td_error).mean(axis=0)
        return LossInfo(loss, metrics, {"td_error": jnp.where(rows.mask > 0, priority, 0.0)}, share)

    @property
    def _target_entropy(self) -> Array | float:
        if self.target_entropy is not None:
            return self.target_entropy
        return float(np.sum(np.log(half_range(self.specs.action)) - 1.0))


def first_temperature(temperature: float | Array) -> dict[str, Array]:
    """The parameters of role "alpha": the logarithm of the first temperature."""
    return {"alpha": jnp.log(jnp.asarray(temperature, jnp.float32))}
