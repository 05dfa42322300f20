"""Numbers that may change with the update count."""

from collections.abc import Callable

from ..envs.types import Array

Schedule = Callable[[Array], Array]


def value_at(schedule: float | Schedule, step: Array) -> Array:
    """A constant, or a schedule evaluated at a number of updates."""
    return schedule(step) if callable(schedule) else schedule
