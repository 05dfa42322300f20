"""How target networks follow the networks that are trained."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from ..envs.types import Array, Tree

TargetUpdate = Callable[[Tree, Tree, Array], Tree]  # params, target_params, step -> target_params


def polyak(tau: float) -> TargetUpdate:
    """Target parameters that follow slowly: target <- (1 - tau) target + tau params.

    They move after every update (Lillicrap et al. 2016, section 3).

    Args:
      tau: Fraction of the way, 0..1; may be traced.

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


def delayed(target_update: TargetUpdate, period: int) -> TargetUpdate:
    """A target update that takes effect after every `period` updates, and not on the others."""

    def update(params: Tree, targets: Tree, step: Array) -> Tree:
        moved = target_update(params, targets, step)
        due = step % period == 0
        return jax.tree.map(lambda new, old: jnp.where(due, new, old), moved, targets)

    return target_update if period == 1 else update
