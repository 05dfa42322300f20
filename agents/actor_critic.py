"""What the off-policy actor-critic agents share: checks, draws keyed by example, and target
networks of some roles.
"""

from typing import Any

import jax

from ..envs.specs import BoundedSpec, EnvironmentSpecs, zeros
from ..envs.types import Array
from ..networks.continuous import check_continuous
from .checks import check_network


def check_actor_critic(
    owner: str, specs: EnvironmentSpecs, actor: Any, critic: Any, instead: str
) -> None:
    """Raises a ValueError unless actions are continuous and bounded, and both networks fit the
    specs (see `SacAgent`).
    """
    check_continuous(owner, specs.action, instead)
    check_network(
        "actor",
        actor,
        (zeros(specs.observation),),
        (zeros(specs.observation, (2, 3)),),
        specs.action.shape,
    )
    inputs = (
        zeros((specs.observation, specs.action)),
        zeros((specs.observation, specs.action), (2, 3)),
    )
    check_network("critic", critic, *inputs, ())


def draw(distribution: Any, keys: Array) -> tuple[Array, Array]:
    """Actions `[B, *shape]` and log-probabilities `[B]` of a distribution of batch shape `[B]`,
    each by its own key `[B]`.
    """
    return jax.vmap(lambda d, key: d.sample_and_log_prob(key))(distribution, keys)


def unit_noise(keys: Array, spec: BoundedSpec) -> Array:
    """Standard normal numbers `[B, *shape]`, each example's by its own key `[B]`."""
    return jax.vmap(lambda key: jax.random.normal(key, spec.shape))(keys)
