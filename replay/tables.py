"""What replay in Reverb's tables shares, whoever its client is: rows to streams, readers,
priorities, the end.
"""

import abc
import os
import threading
import weakref
from collections.abc import Iterator
from typing import Any, Protocol

import jax
import numpy as np

from ..envs.types import Array, Sample, Trajectory
from .packing import RowLayout
from .replay import Observer, check_config, check_dataset, check_priorities

PRIORITY = "priority"  # a column of prioritised tables: Reverb's writer computes an item's priority from its rows


class RowStream(Protocol):
    """Consecutive rows of one environment, and the windows in them. Used under the buffer's
    lock.
    """

    def append(self, columns: dict[str, np.ndarray], step_type: int, next_step_type: int) -> None:
        """Adds a row; one that does not continue the last drops the open window."""
        ...


class TableReplay(abc.ABC):
    """The base of `ReverbReplay` and `RemoteReplay`, which say what the arguments mean.

    Raises:
      ValueError: an argument no buffer can serve.
    """

    def __init__(
        self,
        spec: Trajectory,
        *,
        capacity: int,
        sequence_length: int,
        stride: int,
        priority_exponent: float | None,
        min_size: int,
        timeout: float,
        seed: None,
        table: str,
    ):
        check_config(
            capacity=capacity,
            sequence_length=sequence_length,
            stride=stride,
            priority_exponent=priority_exponent,
            min_size=min_size,
            timeout=timeout,
        )
        if seed is not None:
            raise ValueError(
                f"Reverb cannot be seeded, got seed={seed!r}; leave it out, or use HostReplay, "
                "which can"
            )
        self.layout, self.table, self.timeout = RowLayout(spec), table, timeout
        self.sequence_length, self.stride = sequence_length, stride
        self.min_size, self.priority_exponent = min_size, priority_exponent
        self.columns = dict(self.layout.columns)
        if priority_exponent is not None:
            self.columns[PRIORITY] = ((), np.dtype(np.float32))
        self.item_bytes = sequence_length * self.layout.row_bytes
        self.generation = 0  # changes when readers must forget what they have read ahead
        self._capacity, self._pid = int(capacity), os.getpid()
        self._lock = threading.RLock()
        self._closed = threading.Event()
        self._readers: weakref.WeakSet[Any] = weakref.WeakSet()
        self._streams: weakref.WeakSet[Any] = weakref.WeakSet()
        self._own_streams: list[RowStream] = []
        self._batch_shape: tuple[int, ...] | None = None  # of the rows given to `add`
        self._rows = 0  # added here
        self.max_priority = 1.0  # that was set here: that of new items

    @property
    def capacity(self) -> int:
        """The most rows that are kept."""
        return self._capacity

    def add(self, row: Trajectory) -> None:
        """Adds a row, or one row from each of n environments (leaves `[n, ...]`, n streams), to the
        buffer's own streams.

        Raises:
          SpecError: the row does not meet the spec; nothing is added.
          ValueError: another n than before.
          TimeoutError: the server did not take the rows within `timeout` seconds.
          ConnectionError: it was not there for so long (`RemoteReplay`).
        """
        shape = np.shape(row.step_type)
        self.layout.leaves(row, shape[:1])
        if self._batch_shape is None:
            self._batch_shape, self._own_streams = (
                shape,
                [self._stream() for _ in range(shape[0] if shape else 1)],
            )
        if shape != self._batch_shape:
            raise ValueError(
                f"`add` takes rows of batch shape {self._batch_shape}, as first given, got "
                f"{shape}; use writer() for others"
            )
        self._write(self._own_streams, row, shape)

    def writer(self, num_envs: int | None = None) -> Observer:
        """An observer for one more stream of single rows, or for n more of rows `[n, ...]` from
        `num_envs` environments.
        """
        shape = () if num_envs is None else (num_envs,)
        streams = [self._stream() for _ in range(num_envs or 1)]

        def write(row: Trajectory) -> None:
            self.layout.leaves(row, shape)
            self._write(streams, row, shape)

        return write

    def as_dataset(
        self,
        sample_batch_size: int | None = None,
        num_steps: int | None = None,
        *,
        prefetch: int = 2,
        device: Any = None,
    ) -> Iterator[Sample]:
        """An endless iterator of samples `[B, T, ...]`, drawn with replacement; one unbatched item
        `[T, ...]` for None.

        Args:
          sample_batch_size: B.
          num_steps: None, or the buffer's `sequence_length`.
          prefetch: how many batches (`ReverbReplay`: hand-overs, of up to 16 batches each) are read
            ahead; 0: none, for the freshest data.
          device: a device or sharding to put experience on, up to `prefetch` batches ahead. None:
            the first accelerator; on a CPU NumPy arrays, which a jitted function takes faster. The
            info stays in NumPy.
        """
        check_dataset(sample_batch_size, num_steps, prefetch, self.sequence_length)
        if device is None and jax.default_backend() != "cpu":
            device = jax.local_devices()[0]
        reader = self._reader(sample_batch_size, prefetch, device)
        self._readers.add(reader)
        return reader

    def update_priorities(self, keys: Array, priorities: Array) -> None:
        """Sets the priorities `[n]` of the items `info.key` `[n]` (uint64); items that are gone are
        passed over.

        Raises:
          ValueError: a priority is NaN, infinite or negative, or the buffer is uniform.
          TypeError: the keys have lost their upper half in JAX.
        """
        self._check_open()
        keys, priorities = check_priorities(keys, priorities, self.priority_exponent)
        if keys.size:
            self._set_priorities(dict(zip(keys.tolist(), priorities.tolist(), strict=True)))
            self.max_priority = max(self.max_priority, float(priorities.max()))

    def check_reader(self) -> None:
        """Ends an iteration over a closed buffer.

        Raises:
          StopIteration: always then.
        """
        if self._closed.is_set():
            raise StopIteration

    @abc.abstractmethod
    def _stream(self) -> RowStream:
        """A new stream, which is among `_streams`."""

    @abc.abstractmethod
    def _reader(self, batch_size: int | None, prefetch: int, device: Any) -> Iterator[Sample]:
        """What `as_dataset` returns."""

    @abc.abstractmethod
    def _set_priorities(self, priorities: dict[int, float]) -> None:
        """Sets priorities by key, wherever the items are."""

    def _write(self, streams: list[RowStream], row: Trajectory, shape: tuple[int, ...]) -> None:
        columns = self.layout.pack(row)
        step_type, next_step_type = (
            np.asarray(row.step_type).tolist(),
            np.asarray(row.next_step_type).tolist(),
        )
        with self._lock:
            self._check_open()
            if self.priority_exponent is not None:
                columns[PRIORITY] = np.full(shape, self.max_priority, np.float32)
            if not shape:
                streams[0].append(columns, step_type, next_step_type)
            for i in range(len(streams) if shape else 0):
                streams[i].append(
                    {name: column[i] for name, column in columns.items()},
                    step_type[i],
                    next_step_type[i],
                )
            self._rows += len(streams)

    def _rows_told(self) -> str:
        return f"{self._rows} row{' was' if self._rows == 1 else 's were'} added here"

    def _check_open(self) -> None:
        if os.getpid() != self._pid:
            raise RuntimeError(
                f"this {type(self).__name__} was made in another process and does not survive a "
                "fork; start processes with the "
                '"spawn" method and make one there with the address of the server'
            )
        if self._closed.is_set():
            raise RuntimeError("this replay buffer is closed; build another one to go on")
