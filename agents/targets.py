"""Functions that move the parameters of target networks after those that are trained."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from ..envs.types import Array, Tree

TargetUpdate = Callable[[Tree, Tree, Array], Tree]  # params, target_params, step -> target_params


def polyak(tau: float) -> TargetUpdate:
    """Returns a target update by moving averages: target <- (1 - tau) target + tau params.

    It applies after every update (Lillicrap et al. 2016, section 3).

    Args:
      tau: Fraction of the way, 0..1; may be traced.

    Raises:
      ValueError: if tau is a number outside 0..1.
    """
    if isinstance(tau, int | float) and not 0 <= tau <= 1:
        raise ValueError(f"polyak: expected tau in 0..1, got {tau}; 0.005 is usual")

    def update(params: Tree, targets: Tree, step: Array) -> Tree:
        moved = optax.incremental_update(params, targets, tau)
        # A traced tau is float32, and would make float32 of targets of another dtype.
        return jax.tree.map(lambda new, old: jnp.asarray(new, jnp.result_type(old)), moved, targets)

    return update


def periodic(period: int) -> TargetUpdate:
    """Returns a target update that copies the parameters after every `period` updates.

    Args:
      period: Number of updates from copy to copy.

    Raises:
      ValueError: if the period is less than 1.
    """
    if isinstance(period, int | float) and period < 1:
        raise ValueError(f"periodic: expected a period of at least 1 update, got {period}")
    return _Periodic(period)


@dataclasses.dataclass(frozen=True)
class _Periodic:
    """The result of `periodic`, which `delayed` can tell from other functions."""

    period: int

    def __call__(self, params: Tree, targets: Tree, step: Array) -> Tree:
        return optax.periodic_update(params, targets, step, self.period)


def delayed(target_update: TargetUpdate, period: int) -> TargetUpdate:
    """Returns a target update that takes effect after every `period` updates, not after others.

    What `periodic` returns says itself after which updates it copies, and stays as it is: of two
    periods only their common multiples would be left.

    Args:
      target_update: Target update to delay.
      period: Number of updates from one effect to the next.
    """

    def update(params: Tree, targets: Tree, step: Array) -> Tree:
        moved = target_update(params, targets, step)
        due = step % period == 0
        return jax.tree.map(lambda new, old: jnp.where(due, new, old), moved, targets)

    as_it_is = period == 1 or isinstance(target_update, _Periodic)
    return target_update if as_it_is else update
