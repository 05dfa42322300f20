"""Streams of rows in the ring of `HostReplay`, and how saved ones go on."""

from collections import deque
from typing import Any

import numpy as np

from ..streams import NO_STEP_TYPE, Boundaries


class RingStream:
    """One stream, or n streams in step: the open window and the step type that continues it.

    Args:
      num: Number of streams in step; None for one of single rows.
      sequence_length: Number of rows in a window.

    Attributes:
      numbers: Numbers of the rows (of stream 0) that were added last.
      count: Number of rows since the stream began, one for each of n.
      last: Step type of the row that continues the last one, one for each of n.
      boundaries: Check that boundary rows are there.
    """

    def __init__(self, num: int | None, sequence_length: int):
        self.num = num
        self.numbers: deque[int] = deque(maxlen=sequence_length)
        self.ids = np.arange(num or 1)
        self.offsets = (num or 1) * np.arange(sequence_length)
        self.boundaries = Boundaries()
        self.restart()

    def restart(self) -> None:
        """Drops the open window."""
        self.boundaries.restart()
        self.numbers.clear()
        self.count: Any = self._of_each(0)
        self.last: Any = self._of_each(int(NO_STEP_TYPE))

    def _of_each(self, value: int) -> Any:
        return value if self.num is None else np.full(self.num, value)

    def state(self) -> dict[str, Any]:
        """Returns the stream as JSON."""
        return {
            "num": self.num,
            "numbers": list(self.numbers),
            "count": np.asarray(self.count).tolist(),
            "last": np.asarray(self.last).tolist(),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Continues a stream that was saved, if it had as many environments."""
        if state["num"] == self.num:
            self.numbers.extend(state["numbers"])
            self.count = state["count"] if self.num is None else np.array(state["count"])
            self.last = state["last"] if self.num is None else np.array(state["last"])


class StreamList:
    """Streams in the order in which they were opened, which is also that of their saved states."""

    def __init__(self) -> None:
        self.streams: list[RingStream] = []
        self._saved: list[dict[str, Any]] = []  # of streams that are yet to be opened

    def open(self, stream: RingStream) -> None:
        """Adds a stream, which takes up the next saved one."""
        self.streams.append(stream)
        if self._saved:
            stream.set_state(self._saved.pop(0))

    def restart(self) -> None:
        """Drops all open windows."""
        for stream in self.streams:
            stream.restart()

    def state(self) -> list[dict[str, Any]]:
        """Returns the streams as JSON."""
        return [stream.state() for stream in self.streams]

    def set_state(self, states: list[dict[str, Any]]) -> None:
        """Continues saved streams: open ones now, later ones when they are opened."""
        self.restart()
        self._saved = list(states)
        for stream in self.streams[: len(states)]:
            stream.set_state(self._saved.pop(0))
