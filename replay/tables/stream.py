"""The base of the streams of rows that are written to a table."""

import abc

import numpy as np

from ..streams import NO_STEP_TYPE, Boundaries, following_one

# A column of prioritised tables: Reverb's writer computes an item's priority from its rows.
PRIORITY = "priority"


class TableStream(abc.ABC):
    """Consecutive rows of one environment, and the windows in them; used under the buffer's lock.

    Attributes:
      boundaries: Check that boundary rows are there.
      unconfirmed: Number of rows since the last complete flush, an upper bound of those that cannot
        be sampled yet.
    """

    def __init__(self) -> None:
        self.unconfirmed = 0
        self.boundaries = Boundaries()
        self._expected = int(NO_STEP_TYPE)  # the step type that continues the last row

    def append(self, columns: dict[str, np.ndarray], step_type: int, next_step_type: int) -> None:
        """Adds a row; one that does not continue the last drops the open window."""
        if step_type != self._expected:
            self._begin()
        self._append(columns)
        self._expected = following_one(step_type, next_step_type)
        self.unconfirmed += 1

    def restart(self) -> None:
        """Forgets the rows; the next one begins new windows."""
        self.unconfirmed = 0
        self.boundaries.restart()
        self._expected = int(NO_STEP_TYPE)

    @abc.abstractmethod
    def _begin(self) -> None:
        """Drops the open window."""

    @abc.abstractmethod
    def _append(self, columns: dict[str, np.ndarray]) -> None:
        """Writes a row."""
