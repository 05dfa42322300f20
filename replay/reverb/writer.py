"""The writing side of `ReverbReplay`: one Reverb writer for each stream of rows."""

import ctypes
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..replay import continues
from ..tables import PRIORITY

if TYPE_CHECKING:
    from .replay import ReverbReplay

# Reverb adapts a chunk's length (consecutive rows compressed together) between 1 and the longest
# pattern. Windows of two rows would keep it at 1 or 2, and cost 1.15 kB for a CartPole row; a
# longer pattern that never fires lets it grow: 0.9 kB, while rows become visible at most about 4
# rows late. Images compress and sample best in the shortest chunks.
SMALL_ROW_BYTES, LONGEST_CHUNK = 1024, 16
# Rows are confirmed by the server in the background. A writer that runs ahead of it waits, every so
# many rows, until no more than as many are unconfirmed. Reverb complains about more than 50; far
# fewer would cut chunks short.
ROWS_IN_FLIGHT = 24


class Stream:
    """Consecutive rows of one environment. Used under the buffer's lock: a Reverb writer used twice
    at once aborts.
    """

    def __init__(self, replay: "ReverbReplay"):
        self._replay = replay
        self._writer: Any = None
        self._last: tuple[int, int] | None = None
        self._since_wait = 0
        self.unconfirmed = (
            0  # rows since the last complete flush: an upper bound of those that are not visible
        )

    def append(self, columns: dict[str, np.ndarray], step_type: int, next_step_type: int) -> None:
        """Adds a row; one that does not continue the last drops the open window."""
        if self._writer is None:
            self._writer = make_writer(self._replay)
        elif not continues(self._last, step_type):
            self._wait(
                self._replay.timeout,
                lambda ms: self._writer.end_episode(clear_buffers=True, timeout_ms=ms),
            )
            self.unconfirmed = 0
        self._writer.append(columns)
        self._last = (step_type, next_step_type)
        self.unconfirmed += 1
        self._since_wait += 1
        if self._since_wait >= ROWS_IN_FLIGHT:
            self.flush(self._replay.timeout, leave=ROWS_IN_FLIGHT)

    def flush(self, seconds: float, leave: int = 0) -> None:
        """Completes chunks until at most `leave` rows are unconfirmed.

        Raises:
          TimeoutError: the server took longer than `seconds`.
        """
        if self._writer is not None and self.unconfirmed > leave:
            self._wait(seconds, lambda ms: self._writer.flush(leave, ms))
            self.unconfirmed = leave
        self._since_wait = 0

    def drop(self, leak: bool = False) -> None:
        """Lets go of the writer and of what it has not sent. With unsent rows and no server its
        destructor would wait for ever: then leak it."""
        writer, self._writer, self._last, self.unconfirmed = self._writer, None, None, 0
        if leak and writer is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(writer))

    def _wait(self, seconds: float, function: Callable[[int], None]) -> None:
        from reverb import errors

        try:
            function(max(1, round(seconds * 1000)))
        except errors.DeadlineExceededError as error:
            raise self._replay.timeout_error("writing") from error


def make_writer(replay: "ReverbReplay") -> Any:
    """A Reverb writer that makes the windows of one stream."""
    from reverb import structured_writer as sw

    structure = dict.fromkeys(replay.columns)
    reference, step = sw.create_reference_step(structure), sw.Condition.step_index
    last = replay.sequence_length - 1
    priority = None
    if PRIORITY in structure:  # the largest of the window's, which is the newest: they only grow
        priority = sw.td_error(1.0, structure, lambda columns: columns[PRIORITY])

    def config(rows: int, conditions: list) -> Any:
        # Contiguous slices only: Reverb 0.14 merges references without a look at the rows between
        # them.
        pattern = {name: reference[name][-rows:] for name in structure}
        if any(node.HasField("stop") or node.HasField("step") for node in pattern.values()):
            raise AssertionError("windows must be the last rows, all of them")
        return sw.create_config(pattern, replay.table, conditions, priority)

    configs = [
        config(
            replay.sequence_length, [step() >= last, step() % replay.stride == last % replay.stride]
        )
    ]
    if replay.layout.row_bytes < SMALL_ROW_BYTES and replay.sequence_length < LONGEST_CHUNK:
        configs.append(config(LONGEST_CHUNK, [step() <= -1]))
    return replay.client.structured_writer(configs)
