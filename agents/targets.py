"""How target networks follow the networks that are trained."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from ..envs.types import Array, Tree

TargetUpdate = Callable[[Tree, Tree, Array], Tree]


def polyak(tau: float) -> TargetUpdate:
    """Target parameters that follow slowly: target <- (1 - tau) target + tau params, after every
    update; tau may be traced.

    Raises:
      ValueError: if tau is a number outside 0..1.
    """
    if isinstance(tau, int | float) and not 0 <= tau <= 1:
        raise ValueError(f"polyak: expected tau in 0..1, got {tau}; 0.005 is usual")
    return lambda params, targets, step: optax.incremental_update(params, targets, tau)


def periodic(period: int) -> TargetUpdate:
    """Target parameters that are copied from the parameters after every `period` updates.

    Raises:
      ValueError: if the period is less than 1.
    """
    if isinstance(period, int | float) and period < 1:
        raise ValueError(f"periodic: expected a period of at least 1 update, got {period}")
    return lambda params, targets, step: optax.periodic_update(params, targets, step, period)


def follow(target_update: TargetUpdate, period: int = 1) -> TargetUpdate:
    """`target_update` of those roles that have target parameters, after every `period` updates."""

    def update(params: Tree, targets: Tree, step: Array) -> Tree:
        moved = target_update({role: params[role] for role in targets}, targets, step)
        if period == 1:
            return moved
        return jax.tree.map(
            lambda new, old: jnp.where(step % period == 0, new, old), moved, targets
        )

    return update
