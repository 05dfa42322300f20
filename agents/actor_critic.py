"""The family of off-policy actor-critics: an actor, an ensemble of critics and their targets."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from ..envs.specs import BoundedSpec, zeros
from ..envs.types import Array, Tree
from ..networks.continuous import check_continuous
from ..networks.critic import Ensemble
from ..policies.actor_policy import ActorPolicy
from ..policies.policy import Policy
from .checks import check_network
from .off_policy import OffPolicyAgent


class ActorCriticAgent(OffPolicyAgent):
    """An actor over continuous actions and `num_critics` critics of (observation, action).

    A subclass is a frozen dataclass with the fields below and those of `OffPolicyAgent`. It defines
    `loss`, and `critic_shape` if a critic's output is not a single value.

    Attributes:
      actor: Network from observations `[..., *shape]` to a distribution over actions.
      critic: Network from observations and actions to values `[..., *critic_shape]`.
      num_critics: Number of critics.
    """

    actor: Any
    critic: Any
    num_critics: int
    critic_shape: ClassVar[tuple[int, ...]] = ()
    roles: ClassVar[tuple[str, ...]] = ("actor", "critic")
    target_roles: ClassVar[tuple[str, ...]] = ("critic",)

    @cached_property
    def collect_policy(self) -> Policy:
        """The policy that gathers experience: it draws actions from the actor's distribution."""
        return ActorPolicy(self.actor, self.specs.action)

    @cached_property
    def critics(self) -> Ensemble:
        """The critics as one network, whose outputs have a leading axis `[num_critics]`."""
        return Ensemble(self.critic, self.num_critics)

    def check_networks(self) -> None:
        """Raises a ValueError unless actions are continuous and the networks fit the specs."""
        observation = self.specs.observation
        action = self.specs.action
        advice = "for discrete actions use DqnAgent or DiscreteSacAgent"
        check_continuous(type(self).__name__, action, advice)
        check_network("actor", self.actor, (observation,), action.shape)
        check_network("critic", self.critic, (observation, action), self.critic_shape)

    def init_params(self, keys: Sequence[Array]) -> dict[str, Tree]:
        """The first parameters of the actor and of the critics, from a key for each."""
        actor_key, critic_key = keys
        observation, action = zeros((self.specs.observation, self.specs.action))
        return {
            "actor": self.actor.init(actor_key, observation),
            "critic": self.critics.init(critic_key, observation, action),
        }

    def q_values(self, params: Tree, observation: Tree, action: Array) -> Array:
        """Q of an action by each critic `[num_critics, ...]`; `params` are from `policy_params`."""
        return self.critics.apply(params["params"]["critic"], observation, action)

    def value(self, params: Tree, observation: Tree) -> Array:
        """min_i Q_i `[...]` of the greedy action; `params` are from `policy_params`."""
        action = self.actor.apply(params["params"]["actor"], observation).mode()
        return jnp.min(self.q_values(params, observation, action), axis=0)


def sample_and_log_prob(distribution: Any, keys: Array) -> tuple[Array, Array]:
    """Draws actions `[B, *shape]`, each with its own key, and returns their log-probabilities too.

    Args:
      distribution: Distribution of batch shape `[B]`.
      keys: Typed keys `[B]`, as from `example_keys`.

    Returns:
      The actions and their log-probabilities `[B]`.
    """
    return jax.vmap(lambda d, key: d.sample_and_log_prob(key))(distribution, keys)


def unit_noise(keys: Array, spec: BoundedSpec) -> Array:
    """Draws standard normal numbers `[B, *shape]`, one array of the spec's shape for each key."""
    return jax.vmap(lambda key: jax.random.normal(key, spec.shape, jnp.float32))(keys)
