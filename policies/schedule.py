"""Numbers that may change with the update count."""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp

from ..envs.types import Array

Schedule = Callable[[Array], Array]  # from the number of updates, as optax has them


def value_at(schedule: float | Array | Schedule, step: Array) -> Any:
    """The value of a constant, or of a schedule at a number of updates."""
    if not callable(schedule):
        return schedule
    value = schedule(step)
    # optax divides whole numbers, which gives float64 where JAX has it.
    return value.astype(jnp.float32) if hasattr(value, "astype") else value


def value_in(params: Mapping[str, Any], name: str, schedule: Any) -> Any:
    """A scale or a probability as a policy takes it: the parameters' own, else the schedule's.

    Args:
      params: Parameters of a policy, as `PolicyParams`.
      name: Name of the entry of the parameters that overrides the schedule.
      schedule: A number, or a schedule of the update count.
    """
    return params[name] if name in params else value_at(schedule, params["step"])
