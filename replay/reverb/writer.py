"""The writing side of `ReverbReplay`: one Reverb writer for each stream of rows."""

import ctypes
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..tables.stream import PRIORITY, TableStream

# Reverb adapts a chunk's length (consecutive rows compressed together) between 1 and the longest
# pattern. Windows of two rows would keep it at 1 or 2, and cost 1.15 kB for a CartPole row; a
# longer pattern that never fires lets it grow: 0.9 kB, while rows become visible at most about 4
# rows late. Images compress and sample best in the shortest chunks.
LONGEST_CHUNK = 16
# Rows are confirmed by the server in the background. A writer that runs ahead of it waits, each
# time it has added this many rows, until no more than as many are unconfirmed. Reverb complains
# about more than 50; far fewer would cut chunks short.
ROWS_IN_FLIGHT = 24


class ReverbStream(TableStream):
    """Consecutive rows of one environment; a Reverb writer that is used twice at once aborts.

    Args:
      make_writer: Function that returns a new Reverb writer to the server of the time.
      timeout: Seconds that adding a row may take.
      timeout_error: Function from the name of what took too long to the error to raise.
    """

    def __init__(
        self,
        make_writer: Callable[[], Any],
        timeout: float,
        timeout_error: Callable[[str], Exception],
    ):
        super().__init__()
        self._make_writer = make_writer
        self._timeout = timeout
        self._timeout_error = timeout_error
        self._writer: Any = None
        self._since_wait = 0

    def append(self, columns: dict[str, np.ndarray], step_type: int, next_step_type: int) -> None:
        """Adds a row; one that does not continue the last drops the open window."""
        super().append(columns, step_type, next_step_type)
        self._since_wait += 1
        if self._since_wait >= ROWS_IN_FLIGHT:
            self.flush(self._timeout, leave=ROWS_IN_FLIGHT)

    def _begin(self) -> None:
        if self._writer is None:
            self._writer = self._make_writer()
            return
        self._wait(
            self._timeout, lambda ms: self._writer.end_episode(clear_buffers=True, timeout_ms=ms)
        )
        self.unconfirmed = 0

    def _append(self, columns: dict[str, np.ndarray]) -> None:
        self._writer.append(columns)

    def flush(self, seconds: float, leave: int = 0) -> None:
        """Completes chunks until at most `leave` rows are unconfirmed.

        Raises:
          TimeoutError: The server took longer than `seconds`.
        """
        if self._writer is not None and self.unconfirmed > leave:
            self._wait(seconds, lambda ms: self._writer.flush(leave, ms))
            self.unconfirmed = leave
        self._since_wait = 0

    def restart(self) -> None:
        """Lets go of the writer and of what it has not sent."""
        super().restart()
        self._writer = None

    def leak(self) -> None:
        """Keeps the writer for ever: without a server its destructor waits for unsent rows."""
        if self._writer is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._writer))

    def _wait(self, seconds: float, function: Callable[[int], None]) -> None:
        from reverb import errors

        try:
            function(max(1, round(seconds * 1000)))
        except errors.DeadlineExceededError as error:
            raise self._timeout_error("writing") from error


def make_writer(
    client: Any, table: str, columns: Iterable[str], sequence_length: int, stride: int, small: bool
) -> Any:
    """Returns a Reverb writer that makes the windows of one stream.

    Args:
      client: Reverb's client.
      table: Name of the table.
      columns: Names of the columns.
      sequence_length: Number of rows in a window.
      stride: Number of rows between the beginnings of two windows.
      small: True for rows that are stored better many together.
    """
    from reverb import structured_writer as sw

    structure = dict.fromkeys(columns)
    reference = sw.create_reference_step(structure)
    step = sw.Condition.step_index
    last = sequence_length - 1
    priority = None
    if PRIORITY in structure:  # the largest of the window's, which is the newest: they only grow
        priority = sw.td_error(1.0, structure, lambda columns: columns[PRIORITY])

    def config(rows: int, conditions: list) -> Any:
        # Contiguous slices only: Reverb 0.14 merges references without a look at the rows between
        # them.
        pattern = {name: reference[name][-rows:] for name in structure}
        if any(node.HasField("stop") or node.HasField("step") for node in pattern.values()):
            raise AssertionError("windows must be the last rows, all of them")
        return sw.create_config(pattern, table, conditions, priority)

    configs = [config(sequence_length, [step() >= last, step() % stride == last % stride])]
    if small and sequence_length < LONGEST_CHUNK:
        configs.append(config(LONGEST_CHUNK, [step() <= -1]))
    return client.structured_writer(configs)
