"""Replay on Reverb servers elsewhere, through a client that needs no TensorFlow."""

import os
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ...envs.types import Array, Sample, Trajectory
from ..packing import RowLayout
from ..replay import Observer, check_config, check_dataset, check_priorities, close_at_exit, continues
from .client import ReverbClient
from .dataset import RemoteDataset
from .wire import TableInfo
from .writer import InsertStream, Writer

PRIORITY = "priority"  # a column that `ReverbReplay` needs to set an item's priority, and tables therefore have
SMALL_ROW_BYTES, SMALL_ROWS_CHUNK = 1024, 16  # small rows share a chunk; a picture is sampled fastest from its own
IN_FLIGHT_ITEMS, IN_FLIGHT_BYTES = 512, 64 << 20


class RemoteReplay:
    """A `Replay` whose items live in tables of Reverb servers elsewhere. It needs gRPC, and neither Reverb nor TensorFlow.

    Start a server with `jax-agents replay-server`, on a machine that has Reverb, or let a `ReverbReplay` of the same
    arguments start one and pass its `address`. Any number of processes may write, sample and set priorities.

    Several servers are sampled as one table: each gives as many items of a batch as it holds of the whole (of the sum of
    priority ** priority_exponent, if prioritised), and `info` is that of the whole. Each stream of rows goes to one of them.

    A row becomes visible when its chunk is complete (16 rows, if they are small); a new dataset, `can_sample` and a `next()`
    that finds nothing complete the chunks first. A server that goes away is waited for, and used again when it is back;
    what it had not confirmed is written once more. Reverb cannot be seeded. A process must not fork once it has a buffer:
    start processes with the "spawn" method and make one there.

    Args:
      spec: a tree of specs of one row, `agent.collect_data_spec`.
      address: "host:port", or those of all servers.
      capacity: rows that the servers hold together; checked. None: what they hold.
      sequence_length: rows T in a window; as in the table.
      stride: rows between the beginnings of windows.
      priority_exponent: as in the table; None: uniform. New items get the largest priority that this object has set, at
        least 1.
      min_size: items that must be there, on all servers, before any can be sampled.
      timeout: seconds after which a blocked call raises.
      seed: must be None.
      table: the table's name.

    Raises:
      ImportError: gRPC is not installed.
      ValueError: an argument no buffer can serve, or one that a table contradicts.
      ConnectionError: no server answers at an address.
    """

    def __init__(
        self,
        spec: Trajectory,
        address: str | Sequence[str],
        *,
        capacity: int | None = None,
        sequence_length: int = 2,
        stride: int = 1,
        priority_exponent: float | None = None,
        min_size: int = 1,
        timeout: float = 30.0,
        seed: None = None,
        table: str = "experience",
    ):
        self.addresses = (address,) if isinstance(address, str) else tuple(address)
        if not self.addresses:
            raise ValueError('address must be "host:port", or a list of at least one, got an empty list')
        if seed is not None:
            raise ValueError(f"Reverb cannot be seeded, got seed={seed!r}; leave it out, or use HostReplay, which can")
        check_config(
            capacity=2**62 if capacity is None else capacity,
            sequence_length=sequence_length,
            stride=stride,
            priority_exponent=priority_exponent,
            min_size=min_size,
            timeout=timeout,
        )
        self.layout, self.table, self.timeout = RowLayout(spec), table, timeout
        self.sequence_length, self.stride = sequence_length, stride
        self.min_size, self.priority_exponent = min_size, priority_exponent
        columns = dict(self.layout.columns)
        if priority_exponent is not None:
            columns[PRIORITY] = ((), np.dtype(np.float32))
        self.columns = dict(sorted(columns.items()))  # the order of a table's signature
        self.generation = 0  # changes when readers must forget what they have read ahead
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._closed = threading.Event()
        self._readers: weakref.WeakSet[RemoteDataset] = weakref.WeakSet()
        self._streams: weakref.WeakSet[_Stream] = weakref.WeakSet()
        self._own_streams: list[_Stream] = []
        self._batch_shape: tuple[int, ...] | None = None  # of the rows given to `add`
        self._rows = self._hidden = 0  # rows added here; since the last complete flush
        self._max_priority = 1.0
        self.clients = [ReverbClient(address, timeout=timeout) for address in self.addresses]
        try:
            tables = [client.table_info(table) for client in self.clients]
            for client, info in zip(self.clients, tables, strict=True):
                self._check_table(client.address, info, None if capacity is None else capacity // len(tables))
        except Exception:
            for client in self.clients:
                client.close()
            raise
        rows = sum((info.max_size - 1) * stride + sequence_length for info in tables)
        self._capacity = rows if capacity is None else int(capacity)
        self._least = np.array([max(1, info.min_size) for info in tables])
        in_flight = IN_FLIGHT_BYTES // max(1, sequence_length * self.layout.row_bytes)
        self._inserts = [InsertStream(client, max_in_flight=min(IN_FLIGHT_ITEMS, max(8, in_flight))) for client in self.clients]
        self._next_server = int(np.random.default_rng().integers(len(self.clients)))
        close_at_exit(self)

    @property
    def capacity(self) -> int:
        """The most rows that are kept."""
        return self._capacity

    def __len__(self) -> int:
        needed = sum(
            items * self.stride + self.sequence_length - self.stride for items in self._current_sizes().tolist() if items
        )
        return min(self._capacity, max(self._rows, needed))

    def add(self, row: Trajectory) -> None:
        """Adds a row, or one row from each of n environments (leaves `[n, ...]`, n streams), to the buffer's own streams.

        Raises:
          SpecError: the row does not meet the spec; nothing is added.
          ValueError: another n than before.
          TimeoutError: the server did not take the rows within `timeout` seconds.
          ConnectionError: it was not there for so long.
        """
        shape = np.shape(row.step_type)
        self.layout.leaves(row, shape[:1])
        if self._batch_shape is None:
            self._batch_shape, self._own_streams = shape, [self._stream() for _ in range(shape[0] if shape else 1)]
        if shape != self._batch_shape:
            raise ValueError(
                f"`add` takes rows of batch shape {self._batch_shape}, as first given, got {shape}; use writer() for others"
            )
        self._write(self._own_streams, row, shape)

    def writer(self) -> Observer:
        """An observer for one more stream of single rows."""
        streams = [self._stream()]

        def write(row: Trajectory) -> None:
            self.layout.leaves(row)
            self._write(streams, row, ())

        return write

    def as_dataset(
        self, sample_batch_size: int | None = None, num_steps: int | None = None, *, prefetch: int = 2, device: Any = None
    ) -> Iterator[Sample]:
        """An endless iterator of samples `[B, T, ...]`, drawn with replacement; one unbatched item `[T, ...]` for None.

        Args:
          sample_batch_size: B.
          num_steps: None, or the buffer's `sequence_length`.
          prefetch: batches that are read ahead; 0: none, for the freshest data.
          device: a device or sharding to put experience on, up to `prefetch` batches ahead. None: the first accelerator;
            on a CPU NumPy arrays, which a jitted function takes faster. The info stays in NumPy.
        """
        check_dataset(sample_batch_size, num_steps, prefetch, self.sequence_length)
        if device is None and jax.default_backend() != "cpu":
            device = jax.local_devices()[0]
        reader = RemoteDataset(self, sample_batch_size, prefetch, device)
        self._readers.add(reader)
        return reader

    def update_priorities(self, keys: Array, priorities: Array) -> None:
        """Sets the priorities `[n]` of the items `info.key` `[n]` (uint64); items that are gone are passed over.

        Raises:
          ValueError: a priority is NaN, infinite or negative, or the buffer is uniform.
          TypeError: the keys have lost their upper half in JAX.
        """
        self._check_open()
        keys, priorities = check_priorities(keys, priorities, self.priority_exponent)
        if keys.size:
            updates = dict(zip(keys.tolist(), priorities.tolist(), strict=True))
            for client in self.clients:  # a key does not tell whose it is, and each passes over those of others
                client.update_priorities(self.table, updates)
            self._max_priority = max(self._max_priority, float(priorities.max()))

    def can_sample(self, n: int = 1) -> bool:
        """True once at least n items, and the buffer's `min_size`, can be sampled."""
        need = max(n, self.min_size)
        with self._lock:
            if self.sizes().sum() < need <= self._current_sizes().sum() + self._hidden:
                self._flush()
        return bool(self.sizes().sum() >= need)

    def checkpoint(self) -> list[str]:
        """Has each server write its tables to its own disk; where. A server that starts again goes on from there.

        Raises:
          RuntimeError: a server cannot, as when its disk is full.
        """
        self._check_open()
        with self._lock:
            self._flush()
        return [client.checkpoint() for client in self.clients]

    def save(self, path: str | Path) -> None:
        """Raises a RuntimeError: the servers keep what they hold themselves; see `checkpoint`."""
        raise RuntimeError(
            f"the rows are at {', '.join(self.addresses)} and are not written to {path} here: call checkpoint(), or start the "
            "servers with `jax-agents replay-server --checkpoint-dir FOLDER`, which saves them and loads them again"
        )

    def load(self, path: str | Path) -> None:
        """Raises a RuntimeError: a server loads its checkpoint when it starts."""
        raise RuntimeError(
            f"the rows are at {', '.join(self.addresses)} and cannot be loaded from {path} here: a server that is started with "
            "`jax-agents replay-server --checkpoint-dir FOLDER` loads what it has saved there"
        )

    def clear(self) -> None:
        """Drops all rows of all writers; the next rows of this object's streams begin new windows."""
        self._check_open()
        with self._lock:
            self._flush()
            for client in self.clients:
                client.reset(self.table)
            for stream in list(self._streams):
                stream.restart()
            self.generation += 1
            self._rows, self._hidden, self._max_priority = 0, 0, 1.0
        for reader in list(self._readers):
            reader.release()

    def close(self) -> None:
        """Ends every blocked or later `next()` with StopIteration; may be called twice, and from any thread."""
        if self._closed.is_set() or os.getpid() != self._pid:
            return
        self._closed.set()
        self.generation += 1
        for reader in list(self._readers):
            reader.release()
        if self._lock.acquire(timeout=0.5):
            try:
                self._flush(timeout=0.5)  # a server that is gone must not keep `close` waiting
            except Exception:
                pass
            finally:
                self._lock.release()
        for insert in self._inserts:
            insert.close()
        for client in self.clients:
            client.close()

    # What readers use.

    def check_reader(self) -> None:
        """Ends an iteration over a closed buffer.

        Raises:
          StopIteration: always then.
        """
        if self._closed.is_set():
            raise StopIteration

    def sizes(self) -> np.ndarray:
        """The items `[servers]` that can be sampled; 0 where a server has fewer than its own least number."""
        sizes = self._current_sizes()
        return np.where(sizes >= self._least, sizes, 0)

    def wait_for_items(self, deadline: float) -> None:
        """Makes all rows added so far visible, and waits until there are enough items to sample."""
        while True:
            self.check_reader()
            try:
                with self._lock:
                    self._flush(max(0.0, deadline - time.monotonic()))
                items = self.sizes().sum()
            except Exception:
                self.check_reader()  # closed meanwhile: that is the end, whatever broke
                raise
            if items >= self.min_size:
                return
            if time.monotonic() > deadline:
                raise self.timeout_error("sampling")
            self._closed.wait(0.01)

    def timeout_error(self, what: str) -> Exception:
        """An error that tells what the tables were waiting for."""
        try:
            tables = [client.table_info(self.table) for client in self.clients]
        except ConnectionError as error:
            return error
        added = f"{self._rows} row{' was' if self._rows == 1 else 's were'} added"
        return TimeoutError(
            f"{what} took longer than timeout={self.timeout:g} s. Table {self.table!r} at {', '.join(self.addresses)} has "
            f"{sum(info.current_size for info in tables)} items of the {max(self.min_size, *self._least)} needed; inserts: "
            f"{sum(info.inserts for info in tables)}, samples: {sum(info.samples for info in tables)}; {added} here, of "
            f"which at most {self._hidden} are not confirmed yet; an item needs {self.sequence_length} consecutive rows of one "
            "stream. Add rows first, or from another thread or process meanwhile, or lower min_size"
        )

    # Private.

    def _current_sizes(self) -> np.ndarray:
        self._check_open()
        return np.array([client.table_info(self.table).current_size for client in self.clients])

    def _write(self, streams: "list[_Stream]", row: Trajectory, shape: tuple[int, ...]) -> None:
        packed = self.layout.pack(row)
        if self.priority_exponent is not None:
            packed[PRIORITY] = np.full(shape, self._max_priority, np.float32)
        columns = [packed[name] for name in self.columns]
        step_type, next_step_type = np.asarray(row.step_type).tolist(), np.asarray(row.next_step_type).tolist()
        with self._lock:
            self._check_open()
            for insert in self._inserts:
                insert.wait()
            if not shape:
                streams[0].append(columns, step_type, next_step_type, self._max_priority)
            for i in range(len(streams) if shape else 0):
                streams[i].append([x[i] for x in columns], step_type[i], next_step_type[i], self._max_priority)
            self._rows += len(streams)
            self._hidden += len(streams)

    def _stream(self) -> "_Stream":
        small = self.layout.row_bytes < SMALL_ROW_BYTES
        chunk = max(SMALL_ROWS_CHUNK if small else 1, self.sequence_length // 2)
        with self._lock:
            insert = self._inserts[self._next_server % len(self._inserts)]
            self._next_server += 1
            writer = Writer(insert, max_rows=self.sequence_length, chunk_length=chunk)
            stream = _Stream(writer, self.table, self.sequence_length, self.stride)
            self._streams.add(stream)
        return stream

    def _flush(self, timeout: float | None = None) -> None:
        for stream in list(self._streams):
            stream.writer.send()
        for insert in self._inserts:
            insert.wait(0, timeout)
        self._hidden = 0

    def _check_table(self, address: str, info: TableInfo, capacity: int | None) -> None:
        want = {name: (dtype, (self.sequence_length, *shape)) for name, (shape, dtype) in self.columns.items()}
        problems = []
        if info.sampler not in ("uniform", "prioritized") or info.max_times_sampled > 0 or info.max_diff < 1e300:
            problems.append("it is a queue; use ReverbClient's writer and sampler")
        elif info.priority_exponent != self.priority_exponent:
            problems.append(f"priority_exponent: the server has {info.priority_exponent}, got {self.priority_exponent}")
        if capacity is not None and info.max_size != 1 + (capacity - self.sequence_length) // self.stride:
            rows = (info.max_size - 1) * self.stride + self.sequence_length
            problems.append(f"capacity: the server has room for {rows} rows, got {capacity} for each server")
        if info.signature is not None and info.signature != want:
            problems.append(f"rows: the server has {_describe(info.signature)}, got {_describe(want)}")
        if problems:
            raise ValueError(
                f"table {self.table!r} at {address} is not the one described here: {'; '.join(problems)}. Pass the server's "
                "arguments"
            )

    def _check_open(self) -> None:
        if os.getpid() != self._pid:
            raise RuntimeError(
                "this RemoteReplay was made in another process and does not survive a fork; start processes with the "
                '"spawn" method and make one there'
            )
        if self._closed.is_set():
            raise RuntimeError("this replay buffer is closed; build another one to go on")


class _Stream:
    """Consecutive rows of one environment, and the windows in them."""

    def __init__(self, writer: Writer, table: str, sequence_length: int, stride: int):
        self.writer, self._table, self._length, self._stride = writer, table, sequence_length, stride
        self._rows = 0
        self._last: tuple[int, int] | None = None

    def append(self, columns: list[np.ndarray], step_type: int, next_step_type: int, priority: float) -> None:
        """Adds a row; one that does not continue the last drops the open window."""
        if not continues(self._last, step_type):
            self.writer.end_episode()
            self._rows = 0
        self.writer.append_at_once(columns)
        self._last = (step_type, next_step_type)
        self._rows += 1
        if self._rows >= self._length and (self._rows - self._length) % self._stride == 0:
            self.writer.create_item(self._table, priority, self._length)

    def restart(self) -> None:
        """Forgets the rows; the next begins new windows."""
        self.writer.close()
        self._rows, self._last = 0, None


def _describe(columns: dict[str, tuple[np.dtype, tuple[int, ...]]]) -> str:
    return ", ".join(f"{name}: {dtype}{list(shape)}" for name, (dtype, shape) in columns.items())
