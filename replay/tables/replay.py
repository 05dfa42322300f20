"""The base of the buffers in Reverb's tables: rows to streams, readers, priorities, and the end."""

import abc
import os
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np

from ...envs.types import Array, Sample, Trajectory
from ..buffer import BufferSettings, WindowBuffer
from ..checks import check_priorities
from ..replay import Observer
from .state import TableState, describe_states
from .stream import PRIORITY, TableStream

CLOSING_SECONDS = 0.5  # for the last rows: a server that is gone must not keep `close` waiting


class TableReplay(WindowBuffer):
    """The base of `ReverbReplay` and `RemoteReplay`, which describe the arguments.

    Attributes:
      columns: Shape of a row and dtype of each column of the table.
      max_priority: Highest priority that was set here, which is that of new items.

    Raises:
      ValueError: No buffer could serve an argument.
    """

    def __init__(self, spec: Trajectory, settings: BufferSettings, seed: None, table: str):
        if seed is not None:
            raise ValueError(
                f"Reverb cannot be seeded, got seed={seed!r}; leave it out, or use HostReplay, "
                "which can"
            )
        super().__init__(spec, settings)
        self.table = table
        self.columns = dict(self.layout.columns)
        if self.priority_exponent is not None:
            self.columns[PRIORITY] = ((), np.dtype(np.float32))
        self.max_priority = 1.0
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._closed = threading.Event()
        self._readers: weakref.WeakSet[Any] = weakref.WeakSet()
        self._streams: list[Any] = []  # also those of dropped writers, which may have unsent rows
        self._own_streams: list[TableStream] = []
        self._batch_shape: tuple[int, ...] | None = None  # of the rows given to `add`
        self._rows = 0  # added here

    # -- writing

    def add(self, row: Trajectory) -> None:
        """Adds a row, or one row from each of n environments (leaves `[n, ...]`, n streams).

        Raises:
          SpecError: The row does not meet the spec; nothing is added.
          ValueError: The number of environments is not that of the first call, or the boundary rows
            between episodes are missing.
          TimeoutError: The server did not take the rows within `timeout` seconds.
          ConnectionError: The server was not there for that long (`RemoteReplay`).
        """
        shape = np.shape(row.step_type)
        self.layout.leaves(row, shape[:1])
        if self._batch_shape is None:
            self._batch_shape = shape
            self._own_streams = self._open_streams(shape)
        if shape != self._batch_shape:
            raise ValueError(
                f"`add` takes rows of batch shape {self._batch_shape}, as first given, got "
                f"{shape}; use writer() for others"
            )
        self._write(self._own_streams, row, shape)

    def writer(self, num_envs: int | None = None) -> Observer:
        """Returns an observer for one more stream of single rows, or for n more of rows `[n, ...]`.

        Args:
          num_envs: Number of environments n whose rows come in batches; None takes single rows.
        """
        shape = () if num_envs is None else (num_envs,)
        streams = self._open_streams(shape)

        def write(row: Trajectory) -> None:
            self.layout.leaves(row, shape)
            self._write(streams, row, shape)

        return write

    def flush(self) -> None:
        """Waits until all rows that were added can be sampled.

        Raises:
          TimeoutError: The server took longer than `timeout`; nothing is lost.
        """
        self._check_open()
        with self._lock:
            self._flush(self.timeout)

    def clear(self) -> None:
        """Drops all rows, those of other writers too; the streams' next rows begin new windows."""
        self._check_open()
        with self._lock:
            self._flush(self.timeout)
            self._empty_tables()
            self._forget(1.0)

    def _open_streams(self, shape: tuple[int, ...]) -> list[TableStream]:
        with self._lock:
            streams = [self._stream() for _ in range(shape[0] if shape else 1)]
            self._streams += streams
        return streams

    def _write(self, streams: list[TableStream], row: Trajectory, shape: tuple[int, ...]) -> None:
        columns = self.layout.pack(row)
        step_type = np.asarray(row.step_type).tolist()
        next_step_type = np.asarray(row.next_step_type).tolist()
        with self._lock:
            self._check_open()
            self._make_room()
            if not shape:
                streams[0].boundaries.check(step_type, next_step_type)
            for i in range(len(streams) if shape else 0):
                streams[i].boundaries.check(step_type[i], next_step_type[i])
            if self.priority_exponent is not None:
                columns[PRIORITY] = np.full(shape, self.max_priority, np.float32)
            if not shape:
                streams[0].append(columns, step_type, next_step_type)
            for i in range(len(streams) if shape else 0):
                own = {name: column[i] for name, column in columns.items()}
                streams[i].append(own, step_type[i], next_step_type[i])
            self._rows += len(streams)

    def _forget(self, max_priority: float) -> None:
        for stream in self._streams:
            stream.restart()
        self.generation += 1
        self._rows = 0
        self.max_priority = max_priority

    # -- reading

    def __len__(self) -> int:
        items = np.array([state.items for state in self._states()])
        needed = items * self.stride + (self.sequence_length - self.stride) * (items > 0)
        return min(self.capacity, max(self._rows, int(needed.sum())))

    def can_sample(self, n: int = 1) -> bool:
        """Returns True once at least n items, and the buffer's `min_size`, can be sampled."""
        need = max(n, self.min_size)
        states = self._states()
        ready = sum(state.ready for state in states)
        with self._lock:
            hidden = self._unconfirmed() if ready < need else 0
            if hidden and need <= sum(state.items for state in states) + hidden:
                self._flush(self.timeout)
                ready = int(self.sizes().sum())
        return ready >= need

    def update_priorities(self, keys: Array, priorities: Array) -> None:
        """Sets the priorities `[n]` of the items `info.key` `[n]` (uint64); ignores missing items.

        Raises:
          ValueError: A priority is NaN, infinite or negative, or the buffer is uniform.
          TypeError: The keys have lost their upper half in JAX.
        """
        self._check_open()
        keys, priorities = check_priorities(keys, priorities, self.priority_exponent)
        if keys.size:
            self._set_priorities(dict(zip(keys.tolist(), priorities.tolist(), strict=True)))
            self.max_priority = max(self.max_priority, float(priorities.max()))

    def sizes(self) -> np.ndarray:
        """Returns the number of items `[servers]` that can be sampled.

        It is 0 where a server has fewer items than its own least number.
        """
        return np.array([state.ready for state in self._states()])

    def _unconfirmed(self) -> int:
        return sum(stream.unconfirmed for stream in self._streams)

    def _dataset(self, batch_size: int | None, prefetch: int, device: Any) -> Iterator[Sample]:
        reader = self._reader(batch_size, prefetch, device)
        self._readers.add(reader)
        return reader

    # -- for readers

    def check_reader(self) -> None:
        """Raises StopIteration, which ends an iteration, where the buffer is closed."""
        if self._closed.is_set():
            raise StopIteration

    def wait_for_items(self, deadline: float) -> int:
        """Makes all rows added so far visible, and waits until there are enough items to sample.

        Args:
          deadline: Time of `time.monotonic` at which the wait ends.

        Returns:
          The number of items that can be sampled.

        Raises:
          TimeoutError, ConnectionError: See `timeout_error`.
          StopIteration: The buffer was closed.
        """
        while True:
            self.check_reader()
            try:
                with self._lock:
                    self._flush(max(0.1, deadline - time.monotonic()))
                items = int(self.sizes().sum())
            except Exception:
                self.check_reader()  # closed meanwhile: that is the end, whatever broke
                raise
            if items >= self.min_size:
                return items
            if time.monotonic() > deadline:
                raise self.timeout_error("sampling")
            self._closed.wait(0.01)

    def timeout_error(self, action: str) -> Exception:
        """Returns the error to raise when a server took too long, with the state of the tables.

        Args:
          action: Name of what took long, such as "sampling".

        Returns:
          A TimeoutError, or the ConnectionError if a server does not answer.
        """
        try:
            states = self._states()
        except ConnectionError as error:
            return error
        added = f"{self._rows} row{' was' if self._rows == 1 else 's were'} added here"
        return TimeoutError(
            f"{action} took longer than timeout={self.timeout:g} s. Table {self.table!r} at "
            f"{describe_states(states, self.min_size)}; {added}, of which at most "
            f"{self._unconfirmed()} are not confirmed yet; an item needs {self.sequence_length} "
            "consecutive rows of one stream. Add rows first, or from another thread or process "
            "meanwhile, or lower min_size"
        )

    # -- the end

    def close(self) -> None:
        """Ends each blocked or later `next()`; any thread may call it, also twice."""
        if self._closed.is_set() or os.getpid() != self._pid:
            return
        self._closed.set()
        self.generation += 1
        for reader in list(self._readers):  # first: Reverb's would wait for its server for ever
            reader.release(timeout=1.0)
        locked = self._lock.acquire(timeout=CLOSING_SECONDS)
        self._disconnect(flushed=locked and self._flush_last())
        if locked:
            self._lock.release()

    def _flush_last(self) -> bool:
        """Returns True if the last rows were written in time."""
        try:
            self._flush(CLOSING_SECONDS)
        except Exception:
            return False
        return True

    def _check_open(self) -> None:
        if os.getpid() != self._pid:
            raise RuntimeError(
                f"this {type(self).__name__} was made in another process and does not survive a "
                'fork; start processes with the "spawn" method and make one there with the address '
                "of the server"
            )
        if self._closed.is_set():
            raise RuntimeError("this replay buffer is closed; build another one to go on")

    # -- the connection

    def _make_room(self) -> None:
        """Waits, under the lock, until the server can take more rows."""

    @abc.abstractmethod
    def _stream(self) -> TableStream:
        """Returns a new stream."""

    @abc.abstractmethod
    def _flush(self, seconds: float) -> None:
        """Makes all rows visible, under the lock.

        Raises:
          TimeoutError: The server took longer than `seconds`.
        """

    @abc.abstractmethod
    def _reader(self, batch_size: int | None, prefetch: int, device: Any) -> Iterator[Sample]:
        """Returns a new reader."""

    @abc.abstractmethod
    def _states(self) -> list[TableState]:
        """Returns the state of each server's table, if this buffer is open."""

    @abc.abstractmethod
    def _set_priorities(self, priorities: dict[int, float]) -> None:
        """Sets priorities by key, on each server."""

    @abc.abstractmethod
    def _empty_tables(self) -> None:
        """Deletes all items, on each server."""

    @abc.abstractmethod
    def _disconnect(self, flushed: bool) -> None:
        """Lets go of the servers; `flushed`: they have all rows."""
