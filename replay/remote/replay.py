"""Replay on Reverb servers elsewhere, through a client that needs no TensorFlow."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...envs.types import Trajectory
from ..buffer import BufferSettings
from ..closing import close_at_exit
from ..tables.replay import TableReplay
from ..tables.state import TableState
from ..tables.stream import TableStream
from .client import ReverbClient
from .dataset import RemoteDataset
from .inserts import InsertStream
from .layout import agree_on_rows
from .wire import TableInfo
from .writer import Writer

# Small rows share a chunk; a picture is sampled fastest from a chunk of its own.
SMALL_ROWS_CHUNK = 16
IN_FLIGHT_ITEMS = 512
IN_FLIGHT_BYTES = 64 << 20


class RemoteReplay(TableReplay):
    """A `ReplayBuffer` whose items live in tables of Reverb servers elsewhere.

    It needs gRPC, and neither Reverb nor TensorFlow. Start a server with `jax-agents
    replay-server`, on a machine that has Reverb, or let a `ReverbReplay` of the same arguments
    start one and pass its `address`. Any number of processes may write, sample and set priorities.

    Several servers are sampled as one table: each gives as many items of a batch as it holds of the
    whole (of the sum of priority ** priority_exponent, if prioritised), and `info` is that of the
    whole. Each stream of rows goes to one of them.

    A row becomes visible when its chunk is complete (16 rows, if they are small); a new dataset,
    `can_sample` and a `next()` that finds nothing complete the chunks first. A server that goes
    away is waited for, and used again when it is back; what it had not confirmed is written once
    more. Reverb cannot be seeded. A process must not fork once it has a buffer: start processes
    with the "spawn" method and make one there.

    Args:
      spec: Specs of one row, `agent.collect_data_spec`.
      address: Address of the server, "host:port", or those of all servers.
      capacity: Number of rows that the servers hold together, which is checked; None takes what
        they hold.
      sequence_length: Number of rows T in a window; as in the table.
      stride: Number of rows between the beginnings of two windows.
      priority_exponent: Exponent of priorities as in the table; None: uniform. New items get the
        largest priority that this object has set, at least 1.
      min_size: Number of items that must be there, on all servers, before any can be sampled.
      timeout: Seconds after which a blocked call raises.
      seed: None, since Reverb cannot be seeded.
      table: Name of the table.

    Raises:
      ImportError: gRPC is not installed.
      ValueError: No buffer could serve an argument, or a table contradicts it.
      ConnectionError: No server answers at an address.
    """

    others_write = True

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
        rows = 2**62 if capacity is None else capacity  # until it is known
        settings = BufferSettings(
            rows, sequence_length, stride, priority_exponent, min_size, timeout
        )
        super().__init__(spec, settings, seed, table)
        self.columns = dict(sorted(self.columns.items()))  # the order of a table's signature
        self.clients = [ReverbClient(address, timeout=timeout) for address in self.addresses]
        try:
            tables = [client.table_info(table) for client in self.clients]
            each = None if capacity is None else capacity // len(tables)
            for client, info in zip(self.clients, tables, strict=True):
                agree_on_rows(client, table, self.layout, sequence_length)
                self._check_table(client.address, info, each)
        except Exception:
            self._close_clients()
            raise
        if capacity is None:
            self.capacity = sum(self._rows_of(info.max_size) for info in tables)
        in_flight = max(8, IN_FLIGHT_BYTES // max(1, sequence_length * self.layout.row_bytes))
        self._inserts = [
            InsertStream(client, max_in_flight=min(IN_FLIGHT_ITEMS, in_flight))
            for client in self.clients
        ]
        self._next_server = int(np.random.default_rng().integers(len(self.clients)))
        close_at_exit(self)

    def checkpoint(self) -> list[str]:
        """Has each server write its tables to its own disk; returns the folders' paths there.

        A server that starts again goes on from there.

        Raises:
          RuntimeError: A server cannot, as when its disk is full.
        """
        self.flush()
        return [client.checkpoint() for client in self.clients]

    def save(self, path: str | Path) -> None:
        """Raises a RuntimeError: the servers keep what they hold themselves; see `checkpoint`."""
        raise RuntimeError(
            f"the rows are at {', '.join(self.addresses)} and are not written to {path} here: "
            "call checkpoint(), or start the servers with `jax-agents replay-server "
            "--checkpoint-dir FOLDER`, which saves them and loads them again"
        )

    def load(self, path: str | Path) -> None:
        """Raises a RuntimeError: a server loads its checkpoint when it starts."""
        raise RuntimeError(
            f"the rows are at {', '.join(self.addresses)} and cannot be loaded from {path} here: "
            "a server that is started with `jax-agents replay-server --checkpoint-dir FOLDER` "
            "loads what it has saved there"
        )

    def clear(self) -> None:
        """Drops all rows, those of other writers too; the streams' next rows begin new windows."""
        super().clear()
        for reader in list(self._readers):
            reader.release()  # it waits for items that are gone

    def _rows_of(self, items: int) -> int:
        """Returns the number of rows of one stream that make this many items."""
        return (items - 1) * self.stride + self.sequence_length

    def _states(self) -> list[TableState]:
        self._check_open()
        states = []
        for client in self.clients:
            info = client.table_info(self.table)
            states.append(
                TableState(
                    client.address,
                    info.current_size,
                    info.max_size,
                    info.min_size,
                    info.inserts,
                    info.samples,
                )
            )
        return states

    def _reader(self, batch_size: int | None, prefetch: int, device: Any) -> RemoteDataset:
        return RemoteDataset(self, self.clients, batch_size, prefetch, device)

    def _set_priorities(self, priorities: dict[int, float]) -> None:
        for client in self.clients:  # a key does not tell its server, and the others ignore it
            client.update_priorities(self.table, priorities)

    def _empty_tables(self) -> None:
        for client in self.clients:
            client.reset(self.table)

    def _make_room(self) -> None:
        for insert in self._inserts:
            insert.wait()

    def _stream(self) -> "RemoteStream":
        chunk = max(SMALL_ROWS_CHUNK if self.layout.is_small else 1, self.sequence_length // 2)
        insert = self._inserts[self._next_server % len(self._inserts)]
        self._next_server += 1
        writer = Writer(insert, max_rows=self.sequence_length, chunk_length=chunk)
        return RemoteStream(
            writer,
            list(self.columns),
            self.sequence_length,
            self.stride,
            lambda: writer.create_item(self.table, self.max_priority, self.sequence_length),
        )

    def _flush(self, seconds: float) -> None:
        for stream in self._streams:
            stream.writer.send()
        for insert in self._inserts:
            insert.wait(0, seconds)
        for stream in self._streams:
            stream.unconfirmed = 0

    def _disconnect(self, flushed: bool) -> None:
        for insert in self._inserts:
            insert.close()
        self._close_clients()

    def _close_clients(self) -> None:
        for client in self.clients:
            client.close()

    def _check_table(self, address: str, info: TableInfo, capacity: int | None) -> None:
        """Raises a ValueError if a server's table is not the one that the arguments describe."""
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
            problems.append(
                f"capacity: the server has room for {self._rows_of(info.max_size)} rows, got "
                f"{capacity} for each server"
            )
        if info.signature is not None and info.signature != want:
            problems.append(
                f"rows: the server has {_describe(info.signature)}, got {_describe(want)}"
            )
        if problems:
            raise ValueError(
                f"table {self.table!r} at {address} is not the one described here: "
                f"{'; '.join(problems)}. Pass the server's arguments"
            )


class RemoteStream(TableStream):
    """Consecutive rows of one environment, and the windows in them.

    Args:
      writer: Writer to a server.
      columns: Names of the columns in the order of the table's signature.
      sequence_length: Number of rows in a window.
      stride: Number of rows between the beginnings of two windows.
      create_item: Function that makes a window of the writer's last rows.
    """

    def __init__(
        self,
        writer: Writer,
        columns: list[str],
        sequence_length: int,
        stride: int,
        create_item: Callable[[], int],
    ):
        super().__init__()
        self.writer = writer
        self._columns = columns
        self._sequence_length = sequence_length
        self._stride = stride
        self._create_item = create_item
        self._rows = 0

    def _begin(self) -> None:
        self.writer.end_episode()
        self._rows = 0

    def _append(self, columns: dict[str, np.ndarray]) -> None:
        self.writer.append_at_once([columns[name] for name in self._columns])
        self._rows += 1
        beyond = self._rows - self._sequence_length
        if beyond >= 0 and beyond % self._stride == 0:
            self._create_item()

    def restart(self) -> None:
        """Forgets the rows; the next one begins new windows."""
        super().restart()
        self.writer.close()
        self._rows = 0


def _describe(columns: dict[str, tuple[np.dtype, tuple[int, ...]]]) -> str:
    return ", ".join(f"{name}: {dtype}{list(shape)}" for name, (dtype, shape) in columns.items())
