"""The queue of on-policy experience on a Reverb server."""

import collections
import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

from ...envs.types import Trajectory
from ..closing import close_at_exit
from ..queues.assembler import item_rows
from ..queues.queue import ExperienceQueue
from .checkpoint import private_folder
from .connection import agree_on_rows, connect, make_signature, read_table, start
from .runtime import import_reverb, quiet

SLICE_MS = 200  # the time a call may wait inside Reverb before it looks if the queue was closed


class ReverbQueue(ExperienceQueue):
    """An `ExperienceQueue` whose items wait in a Reverb table: first in, first out, each once.

    The process that makes it without an address has the server and reads; others, with its
    `address`, only write. An item is sent when it is complete, so what the server holds is whole; a
    writer waits until its items are in the table. The reader takes an item or two ahead of their
    use, which then count no more as waiting.

    A process must not fork once a server or client exists in it (gRPC would hang): start workers
    first, or with the "spawn" method. The server listens on all interfaces without authentication:
    keep it behind a firewall.

    Args:
      spec: Specs of one row, `agent.collect_data_spec`.
      num_rows: Number of rows of a segment, or of steps that an episode may have.
      episodes: True if items are whole episodes.
      capacity: Largest number of items that wait.
      timeout: Seconds after which a blocked call raises.
      address: Address "host:port" of the server that another `ReverbQueue` with the same arguments
        started; None starts one here.
      table: Name of the table.

    Raises:
      ImportError: Reverb is not installed.
      ValueError: No queue could serve an argument, or the table at `address` contradicts it.
      ConnectionError: No server answers at `address`.
    """

    def __init__(
        self,
        spec: Trajectory,
        *,
        num_rows: int,
        episodes: bool = False,
        capacity: int = 64,
        timeout: float = 30.0,
        address: str | None = None,
        table: str = "on_policy",
    ):
        super().__init__(spec, num_rows, episodes, capacity, timeout)
        reverb, _ = import_reverb()
        self.table = table
        self._signature = make_signature(self.layout.columns, item_rows(self.num_rows, episodes))
        self._writing = threading.Lock()  # a Reverb writer that is used twice at once aborts
        self._writer: Any = None
        self._unconfirmed = False  # True while the writer has an item that is not in the table
        self._source: Any = None
        if address is None:
            queue = reverb.Table.queue(table, self.capacity, signature=self._signature)
            self._connection = start(queue, private_folder(None))
        else:
            self._connection = connect(address)
        agree_on_rows(
            self._connection, table, timeout, self.layout, item_rows(self.num_rows, episodes)
        )
        if address is not None:
            self._check()
        self.address = self._connection.address
        self.client = self._connection.client
        close_at_exit(self)

    def __len__(self) -> int:
        return 0 if self.closed.is_set() else self._info().current_size

    def close(self) -> None:
        """Ends each blocked or later `next()` and `add`; see `ExperienceQueue.close`."""
        if self.closed.is_set():
            return
        super().close()
        # Readers and writers leave within SLICE_MS; the server must not stop before.
        with self._reading:
            self._source = None
        with self._writing:
            if self._writer is not None:
                # Whatever the server says: items that are not in the table are not wanted.
                with contextlib.suppress(Exception):
                    self._writer.close()
            self._writer = None
        self._connection.stop()

    def _put(self, items: collections.deque[Trajectory], deadline: float) -> bool:
        with self._writing:
            while items or self._unconfirmed:
                if self.closed.is_set():
                    return False
                if not self._unconfirmed:
                    self._send(items.popleft())
                if not self._confirmed(deadline):
                    return False  # the writer keeps the item, and sends it when there is room
        return True

    def _send(self, item: Trajectory) -> None:
        if self._writer is None:
            self._writer = self.client.trajectory_writer(num_keep_alive_refs=1)
        # One step whose columns are [T + 1, ...]: items share no rows.
        self._writer.append(self.layout.pack(item))
        newest = {name: self._writer.history[name][-1] for name in self._signature}
        self._writer.create_item(self.table, 1.0, newest)
        self._unconfirmed = True

    def _confirmed(self, deadline: float) -> bool:
        from reverb import errors

        while True:
            try:
                self._writer.flush(0, SLICE_MS)
                self._unconfirmed = False
                return True
            except errors.DeadlineExceededError:
                if self.closed.is_set() or time.monotonic() > deadline:
                    return False

    def _get(self, count: int, deadline: float) -> list[Trajectory]:
        if not self._connection.owns_server:
            raise RuntimeError(
                f"read in the process that has the server, not through address={self.address!r}"
            )
        if self._source is None:
            self._source = self._open()
        raw = next(self._source, None)
        if raw is None:  # nothing came for SLICE_MS
            self._source = None
            return []
        return [self.layout.unpack({name: raw.data[name].numpy() for name in self._signature})]

    def _open(self) -> Iterator[Any]:
        with quiet():
            dataset = read_table(
                self.address,
                self.table,
                self._signature,
                in_flight=1,
                workers=1,  # more would change the order
                timeout_ms=SLICE_MS,
            )
            return iter(dataset)

    def _info(self) -> Any:
        return self._connection.table_info(self.table, self.timeout)

    def _check(self) -> None:
        info = self._info()
        if (
            info.signature != self._signature
            or info.max_times_sampled != 1
            or info.max_size != self.capacity
        ):
            raise ValueError(
                f"table {self.table!r} at {self._connection.address} is not the queue described "
                f"here: it holds {info.max_size} items of {info.signature}, expected "
                f"{self.capacity} of {self._signature}; pass the server's arguments"
            )
