"""The writing side of the client: rows to chunks, and slices of rows to items."""

import random
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .inserts import EncodedItem, InsertStream
from .wire import Chunk, ChunkSlice, encode_chunk, encode_item

_random = random.Random()  # seeded by the system, whatever the program does with `random.seed`


def new_key() -> int:
    """Returns a key for a chunk, an item or an episode: 64 random bits."""
    return _random.getrandbits(64)


class RowSlice(NamedTuple):
    """Rows `start` to `stop` of a column, counted from the episode's first.

    With `squeeze`, it is one row without a time axis.
    """

    column: int
    start: int
    stop: int
    squeeze: bool


class Writer:
    """Writes the rows of one stream, and items made of slices of its last rows.

    Use it from one thread at a time. Rows are compressed together in chunks. An item is sent when
    the chunk of its last row is full, or by `flush`.

    Args:
      stream: Stream that items go to; several writers may share one.
      max_rows: Number of last rows that items may refer to.
      chunk_length: Number of rows in a chunk. A sample brings whole chunks: 16 suits small rows, 1
        suits pictures in short items.
      delta_encoded: True stores integers as differences of consecutive rows.
    """

    def __init__(
        self,
        stream: InsertStream,
        *,
        max_rows: int,
        chunk_length: int = 16,
        delta_encoded: bool = False,
    ):
        if chunk_length < 1 or max_rows < 1:
            raise ValueError(
                f"chunk_length and max_rows must be at least 1, got {chunk_length} and {max_rows}"
            )
        self.stream = stream
        self._max_rows = max_rows
        self._chunk_length = chunk_length
        self._delta = delta_encoded
        self._columns: list[np.ndarray] = []  # the rows that are not in a chunk yet
        self._rows = 0  # of this episode
        self._chunked = 0  # those of them in chunks
        self._chunks: deque[tuple[int, Chunk]] = deque()  # each with the number of its first row
        self._waiting: list[tuple[int, str, float, list[RowSlice]]] = []
        self._episode = new_key()

    def append(self, columns: Sequence[np.ndarray]) -> None:
        """Adds a row, which is copied.

        Args:
          columns: Array `[*shape]` of each column, in the order of the table's signature.

        Raises:
          ValueError: The rows before had other columns.
          TimeoutError, ConnectionError: Too many items are on their way for too long (see
            `InsertStream.wait`); the row was not added.
        """
        self.stream.wait()
        self.append_at_once(columns)

    def append_at_once(self, columns: Sequence[np.ndarray]) -> None:
        """Adds a row, however many items are on their way."""
        if not self._columns:
            self._columns = [
                np.zeros((self._chunk_length, *column.shape), column.dtype) for column in columns
            ]
        for buffer, column in zip(self._columns, columns, strict=True):
            if column.shape != buffer.shape[1:] or column.dtype != buffer.dtype:
                raise ValueError(
                    "the rows before have columns "
                    f"{[f'{x.dtype}{list(x.shape[1:])}' for x in self._columns]}, "
                    f"got {[f'{x.dtype}{list(x.shape)}' for x in columns]}"
                )
        at = self._rows - self._chunked
        if at == self._chunk_length:
            self._cut()
            at = 0
        for buffer, column in zip(self._columns, columns, strict=True):
            buffer[at] = column
        self._rows += 1

    def create_item(
        self, table: str, priority: float, trajectory: int | Sequence[tuple[int, slice | int]]
    ) -> int:
        """Makes an item of the episode's last rows, and returns its key.

        Args:
          table: Name of the table that gets the item.
          priority: Priority of the item, finite and not negative.
          trajectory: Number of last rows that make it, of all columns; or, for each column of the
            item, a column of the rows and a slice that counts from the last, such as
            `(0, slice(-3, None))`. A number in place of the slice takes one row, without a time
            axis.

        Raises:
          ValueError: It takes rows that are not there, or too old; or the priority is no such
            number.
        """
        if not 0 <= priority < np.inf:
            raise ValueError(f"a priority must be finite and at least 0, got {priority!r}")
        if isinstance(trajectory, int):
            trajectory = [
                (column, slice(-trajectory, None)) for column in range(len(self._columns))
            ]
        key = new_key()
        self._waiting.append(
            (key, table, priority, [self._slice(column, rows) for column, rows in trajectory])
        )
        if self._rows - self._chunked in (0, self._chunk_length):
            self._cut()
        return key

    def flush(self, leave: int = 0, timeout: float | None = None) -> None:
        """Sends all items, and waits until the server has confirmed all but `leave` of them.

        Raises:
          TimeoutError, ConnectionError, ValueError, RuntimeError: see `InsertStream.wait`.
        """
        self.send()
        self.stream.wait(leave, timeout)

    def send(self) -> None:
        """Sends all items, which may cut a chunk short, without waiting for the server."""
        if self._waiting:
            self._cut()

    def end_episode(self) -> None:
        """Sends all items; those made later may only refer to later rows."""
        self.send()
        for _, chunk in self._chunks:
            self.stream.release(chunk.key)
        self._chunks.clear()
        self._rows = 0
        self._chunked = 0
        self._episode = new_key()

    def close(self) -> None:
        """Lets go of the rows; items that were not sent are dropped."""
        self._waiting.clear()
        self.end_episode()

    def _slice(self, column: int, rows: slice | int) -> RowSlice:
        squeeze = not isinstance(rows, slice)
        first, last, step = (
            (rows.start, rows.stop, rows.step)
            if isinstance(rows, slice)
            else (rows, rows + 1, None)
        )
        first = -self._max_rows if first is None else first
        last = last or 0
        if step not in (None, 1) or not -min(self._rows, self._max_rows) <= first < last <= 0:
            raise ValueError(
                "an item takes consecutive rows that count from the last, such as slice(-3, "
                f"None) or -1, got {rows}; the episode has {self._rows} rows, of which the last "
                f"max_rows={self._max_rows} can be used"
            )
        if not 0 <= column < len(self._columns):
            raise ValueError(f"the rows have columns 0 to {len(self._columns) - 1}, got {column}")
        return RowSlice(column, self._rows + first, self._rows + last, squeeze)

    def _cut(self) -> None:
        """Makes a chunk of the rows that are in none, and sends the items that wait.

        Rows that are too old are forgotten.
        """
        rows = self._rows - self._chunked
        if rows:
            chunk = encode_chunk(
                new_key(),
                self._episode,
                self._chunked,
                [column[:rows] for column in self._columns],
                self._delta,
            )
            self._chunks.append((self._chunked, chunk))
            self._chunked = self._rows
            self.stream.hold(chunk.key)
        if self._waiting:
            self.stream.insert([self._encode(*item) for item in self._waiting])
            self._waiting.clear()
        while (
            self._chunks
            and self._chunks[0][0] + self._chunks[0][1].rows <= self._rows - self._max_rows
        ):
            self.stream.release(self._chunks.popleft()[1].key)

    def _encode(
        self, key: int, table: str, priority: float, columns: list[RowSlice]
    ) -> EncodedItem:
        used: dict[int, Chunk] = {}
        trajectory = []
        for column, start, stop, squeeze in columns:
            slices = []
            for first, chunk in self._chunks:
                begin = max(start, first)
                end = min(stop, first + chunk.rows)
                if begin < end:
                    slices.append(ChunkSlice(chunk.key, begin - first, end - begin, column))
                    used[chunk.key] = chunk
            trajectory.append((slices, squeeze))
        return EncodedItem(key, encode_item(key, table, priority, trajectory), tuple(used.values()))
