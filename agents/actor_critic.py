"""What the off-policy actor-critic agents share: checks, draws keyed by example, and target networks of some roles."""

from typing import Any

import jax
import jax.numpy as jnp

from ..envs.specs import BoundedSpec, EnvironmentSpecs, zeros
from ..envs.types import Array, Tree
from ..networks.continuous import check_continuous
from .agent import TargetUpdate


def check_actor_critic(owner: str, specs: EnvironmentSpecs, actor: Any, critic: Any, instead: str) -> None:
    """Raises a ValueError unless actions are continuous and bounded, and both networks fit the specs (see `SacAgent`)."""
    check_continuous(owner, specs.action, instead)
    check_network("actor", actor, (zeros(specs.observation),), (zeros(specs.observation, (2, 3)),), specs.action.shape)
    inputs = zeros((specs.observation, specs.action)), zeros((specs.observation, specs.action), (2, 3))
    check_network("critic", critic, *inputs, ())


def check_network(name: str, network: Any, inputs: tuple, batch: tuple, expected: tuple[int, ...]) -> None:
    """Raises a ValueError unless a network maps `batch`, inputs `[2, 3, ...]`, to numbers or actions `[2, 3, *expected]`."""
    advice = "networks.default_encoder(env.specs.observation) gives it an encoder that fits"
    try:
        variables = jax.eval_shape(network.init, jax.random.key(0), *inputs)
        output = jax.eval_shape(lambda v, x: _mode(network.apply(v, *x)), variables, batch)
        got = output.shape
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{name}: cannot take {jax.tree.map(lambda x: x.shape, inputs)}: {error}; {advice}") from error
    if got != (2, 3, *expected):
        raise ValueError(f"{name}: expected outputs {[2, 3, *expected]} for inputs [2, 3, ...], got {list(got)}; see its class")


def check_numbers(
    owner: str, n_step: int, gamma: Any, num_critics: int, temperature: Any = 1.0, learn_temperature: bool = False
) -> None:
    """Raises a ValueError for numbers out of range; traced ones are let through."""
    if n_step < 1:
        raise ValueError(f"{owner}: expected n_step >= 1, got {n_step}")
    if num_critics < 1:
        raise ValueError(f"{owner}: expected num_critics >= 1, got {num_critics}")
    if isinstance(gamma, int | float) and not 0 <= gamma <= 1:
        raise ValueError(f"{owner}: expected gamma in 0..1, got {gamma}")
    if isinstance(temperature, int | float) and (temperature < 0 or (learn_temperature and temperature == 0)):
        raise ValueError(f"{owner}: expected a temperature above 0 (0 only if it is not learned), got {temperature}")


def follow(target_update: TargetUpdate, period: int = 1) -> TargetUpdate:
    """`target_update` of those roles that have target parameters, after every `period` updates."""

    def update(params: Tree, targets: Tree, step: Array) -> Tree:
        moved = target_update({role: params[role] for role in targets}, targets, step)
        if period == 1:
            return moved
        return jax.tree.map(lambda new, old: jnp.where(step % period == 0, new, old), moved, targets)

    return update


def draw(distribution: Any, keys: Array) -> tuple[Array, Array]:
    """Actions `[B, *shape]` and log-probabilities `[B]` of a distribution of batch shape `[B]`, each by its own key `[B]`."""
    return jax.vmap(lambda d, key: d.sample_and_log_prob(key))(distribution, keys)


def unit_noise(keys: Array, spec: BoundedSpec) -> Array:
    """Standard normal numbers `[B, *shape]`, each example's by its own key `[B]`."""
    return jax.vmap(lambda key: jax.random.normal(key, spec.shape))(keys)


def _mode(output: Any) -> Array:
    return output.mode() if hasattr(output, "mode") else output
