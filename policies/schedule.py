"""Numbers that may change with the update count."""

from collections.abc import Callable
from typing import Any

from ..envs.types import Array

Schedule = Callable[[Array], Array]  # from the number of updates, as optax has them


def value_at(schedule: float | Array | Schedule, step: Array) -> Any:
    """The value of a constant, or of a schedule at a number of updates."""
    return schedule(step) if callable(schedule) else schedule
