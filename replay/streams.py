"""The rule by which a row continues the stream of rows before it."""

import numpy as np

from ..envs.types import Array, StepType, Trajectory

BREAK = np.int32(-1)  # the step type of a row where a stream is broken; its next one is one less
NO_STEP_TYPE = np.int32(-3)  # what follows a row that nothing continues: no row has it


def break_row(row: Trajectory) -> Trajectory:
    """Returns a row, like `row`, that continues no other and is continued by none.

    No window of two rows or more holds it.
    """
    step_type = np.full_like(row.step_type, BREAK)
    next_step_type = np.full_like(row.step_type, BREAK - 1)
    return row._replace(step_type=step_type, next_step_type=next_step_type)


def following(step_type: Array, next_step_type: Array) -> np.ndarray:
    """Returns, elementwise, the step type of the row that continues such a row.

    FIRST follows LAST only: a bootstrap row also announces FIRST, since its next step type is zero.
    Nothing continues such a row, and the result there is `NO_STEP_TYPE`.
    """
    nothing = (next_step_type == StepType.FIRST) & (step_type != StepType.LAST)
    return np.where(nothing, NO_STEP_TYPE, next_step_type)


def following_one(step_type: int, next_step_type: int) -> int:
    """Returns `following` of a single row, without the microsecond that NumPy takes for it."""
    if next_step_type == StepType.FIRST and step_type != StepType.LAST:
        return int(NO_STEP_TYPE)
    return next_step_type
