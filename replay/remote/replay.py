"""Replay on Reverb servers elsewhere, through a client that needs no TensorFlow."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...envs.types import Trajectory
from ..replay import close_at_exit, continues
from ..tables import RowStream, TableReplay
from .client import ReverbClient
from .dataset import RemoteDataset
from .wire import TableInfo
from .writer import InsertStream, Writer

SMALL_ROW_BYTES, SMALL_ROWS_CHUNK = (
    1024,
    16,
)  # small rows share a chunk; a picture is sampled fastest from its own
IN_FLIGHT_ITEMS, IN_FLIGHT_BYTES = 512, 64 << 20


class RemoteReplay(TableReplay):
    """A `Replay` whose items live in tables of Reverb servers elsewhere. It needs gRPC, and neither
    Reverb nor TensorFlow.

    Start a server with `jax-agents replay-server`, on a machine that has Reverb, or let a
    `ReverbReplay` of the same arguments start one and pass its `address`. Any number of processes
    may write, sample and set priorities.

    Several servers are sampled as one table: each gives as many items of a batch as it holds of the
    whole (of the sum of priority ** priority_exponent, if prioritised), and `info` is that of the
    whole. Each stream of rows goes to one of them.

    A row becomes visible when its chunk is complete (16 rows, if they are small); a new dataset,
    `can_sample` and a `next()` that finds nothing complete the chunks first. A server that goes
    away is waited for, and used again when it is back; what it had not confirmed is written once
    more. Reverb cannot be seeded. A process must not fork once it has a buffer: start processes
    with the "spawn" method and make one there.

    Args:
      spec: a tree of specs of one row, `agent.collect_data_spec`.
      address: "host:port", or those of all servers.
      capacity: rows that the servers hold together; checked. None: what they hold.
      sequence_length: rows T in a window; as in the table.
      stride: rows between the beginnings of windows.
      priority_exponent: as in the table; None: uniform. New items get the largest priority that
        this object has set, at least 1.
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
            raise ValueError(
                'address must be "host:port", or a list of at least one, got an empty list'
            )
        super().__init__(
            spec,
            capacity=2**62 if capacity is None else capacity,  # until it is known
            sequence_length=sequence_length,
            stride=stride,
            priority_exponent=priority_exponent,
            min_size=min_size,
            timeout=timeout,
            seed=seed,
            table=table,
        )
        self.columns = dict(sorted(self.columns.items()))  # the order of a table's signature
        self._hidden = 0  # rows since the last complete flush
        self.clients = [ReverbClient(address, timeout=timeout) for address in self.addresses]
        try:
            tables = [client.table_info(table) for client in self.clients]
            for client, info in zip(self.clients, tables, strict=True):
                self._check_table(
                    client.address, info, None if capacity is None else capacity // len(tables)
                )
        except Exception:
            for client in self.clients:
                client.close()
            raise
        if capacity is None:
            self._capacity = sum((info.max_size - 1) * stride + sequence_length for info in tables)
        self._least = np.array([max(1, info.min_size) for info in tables])
        in_flight = IN_FLIGHT_BYTES // max(1, self.item_bytes)
        self._inserts = [
            InsertStream(client, max_in_flight=min(IN_FLIGHT_ITEMS, max(8, in_flight)))
            for client in self.clients
        ]
        self._next_server = int(np.random.default_rng().integers(len(self.clients)))
        close_at_exit(self)

    def __len__(self) -> int:
        needed = sum(
            items * self.stride + self.sequence_length - self.stride
            for items in self._current_sizes().tolist()
            if items
        )
        return min(self._capacity, max(self._rows, needed))

    def can_sample(self, n: int = 1) -> bool:
        """True once at least n items, and the buffer's `min_size`, can be sampled."""
        need = max(n, self.min_size)
        with self._lock:
            if self.sizes().sum() < need <= self._current_sizes().sum() + self._hidden:
                self._flush()
        return bool(self.sizes().sum() >= need)

    def flush(self) -> None:
        """Waits until the servers have confirmed all rows added so far, and they are visible.

        Raises:
          TimeoutError: that took longer than `timeout`; nothing is lost.
        """
        self._check_open()
        with self._lock:
            self._flush(self.timeout)

    def checkpoint(self) -> list[str]:
        """Has each server write its tables to its own disk; where. A server that starts again goes
        on from there.

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
            f"the rows are at {', '.join(self.addresses)} and are not written to {path} here: "
            "call checkpoint(), or start the "
            "servers with `jax-agents replay-server --checkpoint-dir FOLDER`, which saves them "
            "and loads them again"
        )

    def load(self, path: str | Path) -> None:
        """Raises a RuntimeError: a server loads its checkpoint when it starts."""
        raise RuntimeError(
            f"the rows are at {', '.join(self.addresses)} and cannot be loaded from {path} here: "
            "a server that is started with "
            "`jax-agents replay-server --checkpoint-dir FOLDER` loads what it has saved there"
        )

    def clear(self) -> None:
        """Drops all rows of all writers; the next rows of this object's streams begin new
        windows.
        """
        self._check_open()
        with self._lock:
            self._flush()
            for client in self.clients:
                client.reset(self.table)
            for stream in list(self._streams):
                stream.restart()
            self.generation += 1
            self._rows, self._hidden, self.max_priority = 0, 0, 1.0
        for reader in list(self._readers):
            reader.release()

    def close(self) -> None:
        """Ends every blocked or later `next()` with StopIteration; may be called twice, and from
        any thread.
        """
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

    def sizes(self) -> np.ndarray:
        """The items `[servers]` that can be sampled; 0 where a server has fewer than its own least
        number.
        """
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
        return TimeoutError(
            f"{what} took longer than timeout={self.timeout:g} s. Table {self.table!r} at "
            f"{', '.join(self.addresses)} has "
            f"{sum(info.current_size for info in tables)} items of the "
            f"{max(self.min_size, *self._least)} needed; inserts: "
            f"{sum(info.inserts for info in tables)}, samples: "
            f"{sum(info.samples for info in tables)}; {self._rows_told()}, of "
            f"which at most {self._hidden} are not confirmed yet; an item needs "
            f"{self.sequence_length} consecutive rows of one "
            "stream. Add rows first, or from another thread or process meanwhile, or lower min_size"
        )

    # Private.

    def _current_sizes(self) -> np.ndarray:
        self._check_open()
        return np.array([client.table_info(self.table).current_size for client in self.clients])

    def _reader(self, batch_size: int | None, prefetch: int, device: Any) -> RemoteDataset:
        return RemoteDataset(self, batch_size, prefetch, device)

    def _set_priorities(self, priorities: dict[int, float]) -> None:
        for (
            client
        ) in self.clients:  # a key does not tell whose it is, and each passes over those of others
            client.update_priorities(self.table, priorities)

    def _write(self, streams: list[RowStream], row: Trajectory, shape: tuple[int, ...]) -> None:
        with self._lock:
            self._check_open()
            for insert in self._inserts:
                insert.wait()
            super()._write(streams, row, shape)
            self._hidden += len(streams)

    def _stream(self) -> "_Stream":
        small = self.layout.row_bytes < SMALL_ROW_BYTES
        chunk = max(SMALL_ROWS_CHUNK if small else 1, self.sequence_length // 2)
        with self._lock:
            insert = self._inserts[self._next_server % len(self._inserts)]
            self._next_server += 1
            writer = Writer(insert, max_rows=self.sequence_length, chunk_length=chunk)
            stream = _Stream(self, writer)
            self._streams.add(stream)
        return stream

    def _flush(self, timeout: float | None = None) -> None:
        for stream in list(self._streams):
            stream.writer.send()
        for insert in self._inserts:
            insert.wait(0, timeout)
        self._hidden = 0

    def _check_table(self, address: str, info: TableInfo, capacity: int | None) -> None:
        want = {
            name: (dtype, (self.sequence_length, *shape))
            for name, (shape, dtype) in self.columns.items()
        }
        problems = []
        if (
            info.sampler not in ("uniform", "prioritized")
            or info.max_times_sampled > 0
            or info.max_diff < 1e300
        ):
            problems.append("it is a queue; use ReverbClient's writer and sampler")
        elif info.priority_exponent != self.priority_exponent:
            problems.append(
                f"priority_exponent: the server has {info.priority_exponent}, got "
                f"{self.priority_exponent}"
            )
        if (
            capacity is not None
            and info.max_size != 1 + (capacity - self.sequence_length) // self.stride
        ):
            rows = (info.max_size - 1) * self.stride + self.sequence_length
            problems.append(
                f"capacity: the server has room for {rows} rows, got {capacity} for each server"
            )
        if info.signature is not None and info.signature != want:
            problems.append(
                f"rows: the server has {_describe(info.signature)}, got {_describe(want)}"
            )
        if problems:
            raise ValueError(
                f"table {self.table!r} at {address} is not the one described here: "
                f"{'; '.join(problems)}. Pass the server's "
                "arguments"
            )


class _Stream:
    """Consecutive rows of one environment, and the windows in them."""

    def __init__(self, replay: RemoteReplay, writer: Writer):
        self.writer, self._replay = writer, replay
        self._rows = 0
        self._last: tuple[int, int] | None = None

    def append(self, columns: dict[str, np.ndarray], step_type: int, next_step_type: int) -> None:
        """Adds a row; one that does not continue the last drops the open window."""
        replay, length = self._replay, self._replay.sequence_length
        if not continues(self._last, step_type):
            self.writer.end_episode()
            self._rows = 0
        self.writer.append_at_once([columns[name] for name in replay.columns])
        self._last = (step_type, next_step_type)
        self._rows += 1
        if self._rows >= length and (self._rows - length) % replay.stride == 0:
            self.writer.create_item(replay.table, replay.max_priority, length)

    def restart(self) -> None:
        """Forgets the rows; the next begins new windows."""
        self.writer.close()
        self._rows, self._last = 0, None


def _describe(columns: dict[str, tuple[np.dtype, tuple[int, ...]]]) -> str:
    return ", ".join(f"{name}: {dtype}{list(shape)}" for name, (dtype, shape) in columns.items())
