"""The writing side of the client: rows to chunks, slices of rows to items, and items on their way
to a server.
"""

import random
import threading
import time
from collections import deque
from collections.abc import Sequence
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .wire import Chunk, ChunkSlice, decode_keys, encode_chunk, encode_insert, encode_item

if TYPE_CHECKING:
    from .client import ReverbClient

_random = random.Random()  # seeded by the system, whatever the program does with `random.seed`


def new_key() -> int:
    """A key for a chunk, an item or an episode: 64 random bits."""
    return _random.getrandbits(64)


class Encoded(NamedTuple):
    """An item ready to be sent, with the chunks that it refers to."""

    key: int
    data: bytes
    chunks: tuple[Chunk, ...]


class InsertStream:
    """Items on their way to a server, from any number of writers and threads.

    Items are sent in the background, in order. When the connection breaks, it is opened again, and
    what the server has not confirmed is sent once more under the same keys, so that nothing is lost
    and nothing is there twice.

    Args:
      client: of the server.
      max_in_flight: items that may be unconfirmed when more are added; `wait` waits for so many.
    """

    def __init__(self, client: "ReverbClient", *, max_in_flight: int = 128):
        if max_in_flight < 1:
            raise ValueError(f"max_in_flight must be at least 1, got {max_in_flight}")
        self.client, self.max_in_flight = client, max_in_flight
        self._changed = threading.Condition()
        self._unconfirmed: dict[int, Encoded] = {}
        self._live: set[int] = set()  # chunks that later items may refer to
        self._sent: set[int] = set()  # chunks that the server keeps for this stream
        self._requests: SimpleQueue[bytes | None] = SimpleQueue()
        self._call: Any = None
        self._broken = False
        self._error: Exception | None = None  # of the last connection, until there is an answer
        self._closed = False

    @property
    def unconfirmed(self) -> int:
        """Items that the server has not confirmed yet."""
        return len(self._unconfirmed)

    def hold(self, key: int) -> None:
        """Later items may refer to the chunk `key`."""
        with self._changed:
            self._live.add(key)

    def release(self, key: int) -> None:
        """No later item refers to the chunk `key`."""
        with self._changed:
            self._live.discard(key)

    def insert(self, items: Sequence[Encoded]) -> None:
        """Sends items, without a wait for the server.

        Raises:
          RuntimeError: this stream is closed.
        """
        with self._changed:
            if self._closed:
                raise RuntimeError("this stream of items is closed; open another one to go on")
            self._unconfirmed.update((item.key, item) for item in items)
            if self._call is None or self._broken:
                self._open()
            else:
                self._send(items)

    def wait(self, leave: int | None = None, timeout: float | None = None) -> None:
        """Waits until at most `leave` items (`max_in_flight`) are unconfirmed.

        Raises:
          TimeoutError: the server took longer than `timeout` seconds (the client's): it blocks
            writers, or hangs.
          ConnectionError: it was not there for so long.
          ValueError, RuntimeError: it refused an item.
        """
        leave = self.max_in_flight if leave is None else leave
        timeout = self.client.timeout if timeout is None else timeout
        deadline = time.monotonic() + timeout
        with self._changed:
            while not self._closed:
                if self._error is not None and not self.client.is_transient(self._error):
                    raise self.client.explain(self._error) from self._error
                if len(self._unconfirmed) <= leave:
                    return
                if time.monotonic() > deadline:
                    break
                if self._broken:
                    self._changed.wait(0.1)
                    self._open()
                self._changed.wait(min(0.5, max(0.0, deadline - time.monotonic())))
            if self._closed:
                raise RuntimeError("this stream of items is closed; open another one to go on")
            if self._error is not None:
                raise self.client.explain(self._error) from self._error
        raise TimeoutError(
            f"writing took longer than {timeout:g} s: {self.unconfirmed} items are not confirmed "
            f"by {self.client.address}"
        )

    def close(self) -> None:
        """Ends the stream; what is not confirmed may be lost."""
        with self._changed:
            self._closed = True
            self._requests.put(None)
            if self._call is not None:
                self._call.cancel()
            self._changed.notify_all()

    def _open(self) -> None:
        self._requests.put(None)
        self._requests, self._broken = SimpleQueue(), False
        self._sent.clear()
        self._call = self.client.stream("InsertStream", iter(self._requests.get, None))
        threading.Thread(
            target=self._listen, args=(self._call,), name="reverb-insert", daemon=True
        ).start()
        self._send(list(self._unconfirmed.values()))

    def _send(self, items: Sequence[Encoded]) -> None:
        if not items:
            return
        chunks = {
            chunk.key: chunk
            for item in items
            for chunk in item.chunks
            if chunk.key not in self._sent
        }
        self._sent = {key for key in self._sent.union(chunks) if key in self._live}
        self._requests.put(
            encode_insert(chunks.values(), (item.data for item in items), self._sent)
        )

    def _listen(self, call: Any) -> None:
        error: Exception = ConnectionAbortedError(
            f"the server at {self.client.address} ended the stream"
        )
        try:
            for answer in call:
                keys = decode_keys(answer)
                with self._changed:
                    for key in keys:
                        self._unconfirmed.pop(key, None)
                    self._error = None
                    self._changed.notify_all()
        except Exception as broken:
            error = broken
        with self._changed:
            if self._call is call and not self._closed:
                self._error, self._broken = error, True
                self._changed.notify_all()


class RowSlice(NamedTuple):
    """Rows `start` to `stop` of a column, counted from the stream's first; `squeeze`: one row,
    without a time axis.
    """

    column: int
    start: int
    stop: int
    squeeze: bool


class Writer:
    """Rows of one stream, and items made of slices of its last rows. Use it from one thread at a
    time.

    Rows are compressed together in chunks. An item is sent when the chunk of its last row is full,
    or by `flush`.

    Args:
      stream: where items go; several writers may share one.
      max_rows: how far back items may refer.
      chunk_length: rows in a chunk. A sample brings whole chunks: 16 suits small rows, 1 suits
        pictures in short items.
      delta_encoded: store integers as differences of consecutive rows.
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
        self.stream, self._max_rows, self._chunk_length, self._delta = (
            stream,
            max_rows,
            chunk_length,
            delta_encoded,
        )
        self._columns: list[np.ndarray] = []  # the rows that are not in a chunk yet
        self._rows, self._chunked = 0, 0  # of this episode: all, and those in chunks
        self._chunks: deque[tuple[int, Chunk]] = deque()  # each with the number of its first row
        self._waiting: list[tuple[int, str, float, list[RowSlice]]] = []
        self._episode = new_key()

    def append(self, columns: Sequence[np.ndarray]) -> None:
        """Adds a row: an array `[*shape]` for each column, in the order of the table's signature;
        copied.

        Raises:
          ValueError: other columns than in the rows before.
          TimeoutError, ConnectionError: too many items are on their way for too long (see
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
        """Makes an item of the episode's last rows; its key.

        Args:
          table: where it goes.
          priority: finite and not negative.
          trajectory: how many of the last rows make it, of all columns; or, for each column of the
            item, a column of the rows and a slice that counts from the last, such as
            `(0, slice(-3, None))`. A number in place of the slice takes one row, without a time
            axis.

        Raises:
          ValueError: it takes rows that are not there, or too old; or the priority is no such
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
        """Sends all items, and waits until the server has confirmed all but `leave` of this
        writer's stream.

        Raises:
          TimeoutError, ConnectionError, ValueError, RuntimeError: see `InsertStream.wait`.
        """
        self.send()
        self.stream.wait(leave, timeout)

    def send(self) -> None:
        """Sends all items, which may cut a chunk short, without a wait for the server."""
        if self._waiting:
            self._cut()

    def end_episode(self) -> None:
        """Sends all items; those made later may only refer to later rows."""
        self.send()
        for _, chunk in self._chunks:
            self.stream.release(chunk.key)
        self._chunks.clear()
        self._rows, self._chunked, self._episode = 0, 0, new_key()

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
        first, last = -self._max_rows if first is None else first, last or 0
        if step not in (None, 1) or not -min(self._rows, self._max_rows) <= first < last <= 0:
            raise ValueError(
                "an item takes consecutive rows that count from the last, such as slice(-3, "
                f"None) or -1, got {rows}; the "
                f"episode has {self._rows} rows, of which the last max_rows={self._max_rows} can "
                "be used"
            )
        if not 0 <= column < len(self._columns):
            raise ValueError(f"the rows have columns 0 to {len(self._columns) - 1}, got {column}")
        return RowSlice(column, self._rows + first, self._rows + last, squeeze)

    def _cut(self) -> None:
        """Makes a chunk of the rows that are in none, sends the items that wait, and forgets rows
        that are too old.
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

    def _encode(self, key: int, table: str, priority: float, columns: list[RowSlice]) -> Encoded:
        used: dict[int, Chunk] = {}
        trajectory = []
        for column, start, stop, squeeze in columns:
            slices = []
            for first, chunk in self._chunks:
                begin, end = max(start, first), min(stop, first + chunk.rows)
                if begin < end:
                    slices.append(ChunkSlice(chunk.key, begin - first, end - begin, column))
                    used[chunk.key] = chunk
            trajectory.append((slices, squeeze))
        return Encoded(key, encode_item(key, table, priority, trajectory), tuple(used.values()))
