"""The rule by which a row continues the stream of rows before it, and what is no stream at all."""

from typing import Any

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


class Boundaries:
    """Refuses the rows of a stream, or of n in step, whose episodes come without boundary rows.

    Such rows would lose each episode's last step, since no window holds the observation after it,
    and with it every termination. A driver leaves a boundary row out only where it stops there and
    another begins; so one may be missing after one that was there.
    """

    def __init__(self) -> None:
        self._ended: Any = False  # an episode has ended with the last row
        self._pending: Any = False  # ... of any of n streams
        self._excused: Any = False  # a boundary row was there, since the last that was missing

    def restart(self) -> None:
        """Forgets the last row: whatever comes next begins anew."""
        self._ended = self._pending = False

    def check(self, step_type: int, next_step_type: int) -> None:
        """Notes a row of a single stream.

        Raises:
          ValueError: if the boundary row before it is missing; the row is not noted.
        """
        if self._ended:
            if step_type == StepType.LAST:
                self._excused = True
            elif step_type == StepType.FIRST:
                if not self._excused:
                    raise ValueError(_MISSING)
                self._excused = False
        self._ended = next_step_type == StepType.LAST

    def check_batch(self, step_type: Array, next_step_type: Array) -> None:
        """Does what `check` does, for a row of each of n streams, `[n]`."""
        if self._pending:
            missing = self._ended & (step_type == StepType.FIRST)
            if np.any(missing & ~np.asarray(self._excused)):
                raise ValueError(_MISSING)
            self._excused = (self._excused & ~missing) | (step_type == StepType.LAST)
        self._ended = next_step_type == StepType.LAST
        self._pending = self._ended.any()


def check_windows(step_type: Array, next_step_type: Array) -> None:
    """Checks that the boundary rows between the episodes of windows `[N, T]` are there.

    Raises:
      ValueError: if one is missing.
    """
    ended = np.asarray(next_step_type)[:, :-1] == StepType.LAST
    if (ended & (np.asarray(step_type)[:, 1:] == StepType.FIRST)).any():
        raise ValueError(_MISSING)


_MISSING = (
    "a row that ends an episode (next_step_type LAST) is followed by one that begins the next "
    "(step_type FIRST): the boundary row between them is missing, which has step_type LAST, "
    "next_step_type FIRST and the final observation, and without which the last step of every "
    "episode is lost. replay.from_transitions and replay.from_episodes make rows with boundary "
    "rows; for rows of another source use another writer()"
)
