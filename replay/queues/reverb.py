"""The queue of on-policy experience on a Reverb server."""

import atexit
import collections
import contextlib
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

from ...envs.types import Trajectory
from ..reverb.checkpoint import private_folder
from ..reverb.runtime import import_reverb, quiet, start, table_info
from .assembler import Assembler
from .queue import ExperienceQueue

_open_queues: "weakref.WeakSet[ReverbQueue]" = weakref.WeakSet()
SLICE_MS = (
    200  # how long a call may wait inside Reverb before it looks whether the queue was closed
)


class ReverbQueue(ExperienceQueue):
    """An `ExperienceQueue` whose items wait in a Reverb table: first in, first out, each sampled
    once.

    The process that makes it without an address has the server and reads; others, with its
    `address`, only write. An item is sent when it is complete, so what the server holds is whole; a
    writer waits until its items are in the table. The reader takes an item or two ahead of their
    use, which then count no more as waiting.

    A process must not fork once a server or client exists in it (gRPC would hang): start workers
    first, or with the "spawn" method. The server listens on all interfaces without authentication:
    keep it behind a firewall.

    Args:
      spec, num_rows, episodes, capacity, timeout: see `ExperienceQueue`.
      address: "host:port" of the server that another `ReverbQueue` with the same arguments started;
        None starts one here.
      table: the table's name.

    Raises:
      ImportError: Reverb is not installed.
      ValueError: an argument no queue can serve, or one that the table at `address` contradicts.
      ConnectionError: no server answers at `address`.
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
        self._reverb, self._tf = import_reverb()
        self.table = table
        item_rows = Assembler(spec, self.num_rows, episodes).item_rows
        self._columns = {
            name: ((item_rows, *shape), dtype)
            for name, (shape, dtype) in self.layout.columns.items()
        }
        self._writing = (
            threading.Lock()
        )  # Reverb's writers are not thread safe, and a concurrent use aborts the process
        self._writer: Any = None
        self._unconfirmed = False  # whether the writer has an item that is not in the table yet
        self._source: Any = None
        self._server: Any = None
        signature = {
            name: self._tf.TensorSpec(shape, dtype, name)
            for name, (shape, dtype) in self._columns.items()
        }
        if address is None:
            self._server = start(
                self._reverb.Table.queue(table, self.capacity, signature=signature),
                private_folder(None),
            )
            self.address, self.client = self._server.address, self._server.client
        else:
            self.address, self.client = address, self._reverb.Client(address)
            self._check(signature)
        _open_queues.add(self)

    def __len__(self) -> int:
        return 0 if self.closed.is_set() else self._info().current_size

    def close(self) -> None:
        """See `ExperienceQueue.close`."""
        if self.closed.is_set():
            return
        super().close()
        with (
            self._reading
        ):  # readers and writers leave within SLICE_MS; the server must not stop before
            self._source = None
        with self._writing:
            if self._writer is not None:
                with contextlib.suppress(
                    Exception
                ):  # whatever the server says: what is not in the table is not wanted
                    self._writer.close()
            self._writer = None
        if self._server is not None:
            self._server.stop()

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
        self._writer.append(
            self.layout.pack(item)
        )  # one step whose columns are [T + 1, ...]: items share no rows
        self._writer.create_item(
            self.table, 1.0, {name: self._writer.history[name][-1] for name in self._columns}
        )
        self._unconfirmed = True

    def _confirmed(self, deadline: float) -> bool:
        while True:
            try:
                self._writer.flush(0, SLICE_MS)
                self._unconfirmed = False
                return True
            except self._reverb.errors.DeadlineExceededError:
                if self.closed.is_set() or time.monotonic() > deadline:
                    return False

    def _get(self, count: int, deadline: float) -> list[Trajectory]:
        if self._server is None:
            raise RuntimeError(
                f"read in the process that has the server, not through address={self.address!r}"
            )
        if self._source is None:
            self._source = self._open()
        raw = next(self._source, None)
        if raw is None:  # nothing came for SLICE_MS
            self._source = None
            return []
        return [self.layout.unpack({name: raw.data[name].numpy() for name in self._columns})]

    def _open(self) -> Iterator[Any]:
        with quiet():
            dataset = self._reverb.TrajectoryDataset(
                server_address=self.address,
                table=self.table,
                dtypes={
                    name: self._tf.as_dtype(dtype) for name, (_, dtype) in self._columns.items()
                },
                shapes={
                    name: self._tf.TensorShape(shape) for name, (shape, _) in self._columns.items()
                },
                max_in_flight_samples_per_worker=1,
                num_workers_per_iterator=1,  # more would change the order
                rate_limiter_timeout_ms=SLICE_MS,
            )
            return iter(dataset)

    def _info(self) -> Any:
        return table_info(self.client, self.address, self.table, self.timeout)

    def _check(self, signature: dict[str, Any]) -> None:
        info = self._info()
        if (
            info.signature != signature
            or info.max_times_sampled != 1
            or info.max_size != self.capacity
        ):
            raise ValueError(
                f"table {self.table!r} at {self.address} is not the queue described here: it "
                f"holds {info.max_size} items of "
                f"{info.signature}, expected {self.capacity} of {signature}; pass the server's "
                "arguments"
            )


@atexit.register
def _close_open_queues() -> None:
    for queue in list(_open_queues):
        queue.close()
