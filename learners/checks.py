"""Checks of what a loop is made of: its agent, its environment, its numbers and its state."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ..envs.checks import check_specs
from ..envs.specs import leaf_name
from ..envs.types import Tree
from ..policies.policy import check_pure


def check_loop(agent: Any, env: Any, *, on_policy: bool, on_device: bool) -> None:
    """Checks that an agent and an environment are of the kinds that a loop is for.

    There are four loops: `OffPolicyScan`, `OnPolicyScan`, `OffPolicyLoop` and `OnPolicyLoop`. A
    scan is for environments in JAX, a loop for those on the host.

    Args:
      agent: Agent that was given to the loop.
      env: Environment that was given to it.
      on_policy: True for a loop of on-policy agents.
      on_device: True for a scan.

    Raises:
      TypeError: if another of the four is for them; the message names it. If the collect policy
        is plain Python. On device also for what is no environment; on the host this is left to
        drivers, which explain what makes one.
      SpecError: if the environment's specs are not in order.
    """
    if not hasattr(env, "specs"):
        if on_device:
            raise TypeError(
                "expected an environment in JAX, such as envs.classic.CartPole(), got "
                f"{type(env).__name__}"
            )
        in_jax = False
    else:
        in_jax = not hasattr(env, "num_envs")
    learns_on_policy = hasattr(agent, "prepare")
    given = _name(on_policy, on_device)
    wanted = _name(learns_on_policy, in_jax)
    if given != wanted:
        learns = "from rows of its own policy" if learns_on_policy else "from replay"
        lives = "is in JAX" if in_jax else "is on the host"
        raise TypeError(
            f"{given}: {type(agent).__name__} learns {learns}, and {type(env).__name__} {lives}; "
            f"learners.{wanted} is for them"
        )
    if hasattr(env, "specs"):
        check_specs(env.specs)
    check_pure(agent.collect_policy)  # it acts in one compiled program with the updates


def _name(on_policy: bool, on_device: bool) -> str:
    return f"{'On' if on_policy else 'Off'}Policy{'Scan' if on_device else 'Loop'}"


class NonFiniteError(ArithmeticError):
    """Parameters, or the updates that make them, are no longer finite numbers."""


def non_finite(state: Mapping[str, Tree]) -> list[str]:
    """Returns the names of what is not finite in the components of a `TrainState`.

    An optimizer's state may be infinite, as `optax.contrib.reduce_on_plateau`'s is at first, but
    hold no NaN; the parameters, target parameters and `extra` must be finite.

    Args:
      state: Components by name; those that a state does not have are passed over.
    """
    finite = {"params": jnp.isfinite, "target_params": jnp.isfinite, "extra": jnp.isfinite}
    finite["opt_state"] = lambda x: ~jnp.isnan(x)
    return [
        leaf_name((jax.tree_util.DictKey(name), *path))
        for name, holds in finite.items()
        for path, leaf in jax.tree_util.tree_flatten_with_path(state.get(name, {}))[0]
        if jnp.issubdtype(leaf.dtype, jnp.inexact) and not bool(holds(leaf).all())
    ]


def check_finite(state: Mapping[str, Tree], consequence: str) -> None:
    """Raises a NonFiniteError that names what is not finite in a state; see `non_finite`.

    Args:
      state: Components by name.
      consequence: Words on what is not done because of it.
    """
    names = non_finite(state)
    if names:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise NonFiniteError(
            f"{consequence}: {', '.join(names[:3])}{more} {'are' if len(names) > 1 else 'is'} not "
            "finite. Look for observations or rewards that are not finite or very large, or lower "
            "the learning rate"
        )
