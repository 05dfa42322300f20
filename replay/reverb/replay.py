"""Replay on a Reverb server: embedded in this process, or at an address where other processes write
too.
"""

import os
import time
from pathlib import Path
from typing import Any

import jax

from ...envs.types import Trajectory
from ..replay import close_at_exit
from ..tables import TableReplay
from . import checkpoint as reverb_checkpoint
from .dataset import ReverbDataset
from .runtime import EmbeddedServer, import_reverb, quiet, serve, table_info
from .writer import Stream


class ReverbReplay(TableReplay):
    """A `Replay` whose items live in a Reverb table.

    A Reverb item is a window that is fixed when its last row is written, and a table holds a number
    of items: that of one stream of `capacity` rows, 1 + (capacity - sequence_length) // stride.
    With n streams it holds up to (n - 1) * (sequence_length - 1) rows more. A row becomes visible
    when its chunk is complete, usually within 4 rows; a new dataset, `can_sample` and `next()`
    complete the chunks first where it matters. `len()` counts the rows that were added here, or as
    many as the items in the table need, if that is more (other processes write too).

    Batches are read ahead of their use, from 1 early on up to about 2 % of the rows added so far:
    priorities take effect, and new rows are drawn, that many batches later.
    `as_dataset(..., prefetch=0)` reads nothing ahead.

    Reverb cannot be seeded: runs are not reproducible; use `HostReplay` where they must be. A
    process must not fork once a server or client exists in it (gRPC would hang): start workers
    first, or with the "spawn" method; a forked child that uses the buffer gets an error. The server
    listens on all interfaces without authentication: keep it behind a firewall.

    Args:
      spec: a tree of specs of one row, `agent.collect_data_spec`.
      capacity: the most rows kept; the oldest go first.
      sequence_length: rows T in a window.
      stride: rows between the beginnings of windows.
      priority_exponent: None samples uniformly; alpha samples with probability proportional to
        priority ** alpha (Schaul et al. 2016, arXiv:1511.05952, equation 1). New items get the
        largest priority that this object has set, at least 1.
      min_size: items that must be there before any can be sampled.
      timeout: seconds after which a blocked call raises.
      seed: must be None.
      address: "host:port" of a server that another `ReverbReplay` with the same arguments started
        (see `address`); None starts one in this process.
      table: the table's name.
      checkpoint_dir: the folder in which the embedded server makes a private folder for checkpoints
        under way; on the file system that `save` writes to, saving is a rename. None: the system's
        temporary folder.

    Raises:
      ImportError: Reverb is not installed.
      ValueError: an argument no buffer can serve, or one that the table at `address` contradicts.
      ConnectionError: no server answers at `address`.
    """

    def __init__(
        self,
        spec: Trajectory,
        *,
        capacity: int,
        sequence_length: int = 2,
        stride: int = 1,
        priority_exponent: float | None = None,
        min_size: int = 1,
        timeout: float = 30.0,
        seed: None = None,
        address: str | None = None,
        table: str = "experience",
        checkpoint_dir: str | Path | None = None,
    ):
        super().__init__(
            spec,
            capacity=capacity,
            sequence_length=sequence_length,
            stride=stride,
            priority_exponent=priority_exponent,
            min_size=min_size,
            timeout=timeout,
            seed=seed,
            table=table,
        )
        self.max_items = 1 + (capacity - sequence_length) // stride
        if min_size > self.max_items:
            raise ValueError(
                f"min_size={min_size} items can never be reached: capacity={capacity} rows hold "
                f"{self.max_items}"
            )
        self._leaves = jax.tree.leaves(spec)
        self._reverb, self._tf = import_reverb()
        self._server, self._checkpoint_dir = None, checkpoint_dir
        if address is None:
            self._server = self._serve(reverb_checkpoint.private_folder(checkpoint_dir))
            self.address, self.client = self._server.address, self._server.client
        else:
            self.address, self.client = address, self._reverb.Client(address)
            reverb_checkpoint.check_table(self._info(), self.signature(), self._settings())
        close_at_exit(self)

    @property
    def owns_server(self) -> bool:
        """True if the server runs in this process and belongs to this object."""
        return self._server is not None

    def __len__(self) -> int:
        items = self._info().current_size
        needed = items * self.stride + self.sequence_length - self.stride if items else 0
        return min(self._capacity, max(self._rows, needed))

    def can_sample(self, n: int = 1) -> bool:
        """True once at least n items, and the buffer's `min_size`, can be sampled."""
        need, items = max(n, self.min_size), self._info().current_size
        with self._lock:
            hidden = sum(stream.unconfirmed for stream in self._streams)
            if items < need <= items + hidden:
                self._flush()
                items = self._info().current_size
        return items >= need

    def flush(self) -> None:
        """Waits until all rows that were added can be sampled.

        Raises:
          TimeoutError: that took longer than `timeout`; nothing is lost.
        """
        self._check_open()
        with self._lock:
            self._flush()

    def save(self, path: str | Path) -> None:
        """Writes the whole buffer into the folder `path`, atomically, and touches nothing else
        there.

        Raises:
          RuntimeError: the server is not this object's own.
          OSError: the disk is full, or `path` cannot be written; what was saved there before is
            still whole.
        """
        self._check_open()
        self._check_owner("save")
        with self._lock:
            self._flush()
            with quiet():
                written = self.client.checkpoint()
            contents = {
                "rows": len(self),
                "items": self._info().current_size,
                "max_priority": self.max_priority,
            }
        reverb_checkpoint.publish(Path(written), Path(path), self._settings() | contents)

    def load(self, path: str | Path) -> None:
        """Replaces the buffer's contents by what `save` wrote; this object's configuration holds
        where the two differ.

        A new server starts from the files, at a new `address`, and the old one stops; if loading
        fails, nothing changes.

        Raises:
          FileNotFoundError: nothing was saved there.
          ValueError: the files are damaged, or cannot serve this configuration: another spec,
            window or stride, more items.
          RuntimeError: the server is not this object's own.
        """
        self._check_open()
        self._check_owner("load")
        saved, folder = reverb_checkpoint.restore(
            Path(path), self._settings(), self._checkpoint_dir, self._tf
        )
        with self._lock:
            old, server = self._server, None
            try:
                server = self._serve(folder)
                reverb_checkpoint.check_restored(
                    table_info(server.client, server.address, self.table, self.timeout), saved
                )
            except (RuntimeError, ValueError) as error:
                if server is not None:
                    server.stop()
                reverb_checkpoint.discard(folder)
                raise ValueError(
                    f"{path}: the saved replay buffer is damaged ({error}); load an older one"
                ) from error
            reverb_checkpoint.discard(folder / reverb_checkpoint.RESTORED)
            self._forget(max(1.0, saved["max_priority"]))
            self._rows = min(saved["rows"], self._capacity)
            self._server, self.address, self.client = server, server.address, server.client
        for reader in list(self._readers):
            reader.release()
        if old is not None:
            old.stop()

    def clear(self) -> None:
        """Drops all rows; the streams' next rows begin new windows."""
        self._check_open()
        with self._lock:
            self._flush()
            self.client.reset(self.table)
            self._forget(1.0)

    def close(self) -> None:
        """Ends every blocked or later `next()` with StopIteration; may be called twice, and from
        any thread.
        """
        if self._closed.is_set() or os.getpid() != self._pid:
            return
        self._closed.set()
        self.generation += 1
        for reader in list(
            self._readers
        ):  # before the server stops: Reverb's readers would wait for its return for ever
            reader.release(timeout=1.0)
        locked = self._lock.acquire(timeout=0.5)
        flushed = self.owns_server or (locked and self._flush_last())
        for stream in list(self._streams):
            stream.drop(leak=not flushed)
        if locked:
            self._lock.release()
        if self._server is not None:
            self._server.stop()

    # What readers and streams use.

    def wait_for_items(self, deadline: float) -> int:
        """Makes all rows added so far visible and waits until the table can be sampled; the rows in
        its items, about.
        """
        while True:
            self.check_reader()
            with self._lock:
                self._flush()
            items = self._info().current_size
            if items >= self.min_size:
                return items * self.stride
            if time.monotonic() > deadline:
                raise self.timeout_error("sampling")
            self._closed.wait(0.01)

    def timeout_error(self, what: str) -> TimeoutError:
        """An error that tells what the table was waiting for."""
        unconfirmed = sum(stream.unconfirmed for stream in list(self._streams))
        try:
            info = self._info()
        except ConnectionError as error:
            return TimeoutError(f"{what} took longer than timeout={self.timeout:g} s: {error}")
        limiter = info.rate_limiter_info
        return TimeoutError(
            f"{what} took longer than timeout={self.timeout:g} s. Table {self.table!r} at "
            f"{self.address} has "
            f"{info.current_size} items of the {limiter.min_size_to_sample} needed, at most "
            f"{info.max_size}; inserts: "
            f"{limiter.insert_stats.completed}, samples: {limiter.sample_stats.completed}; "
            f"{self._rows_told()}, of which at "
            f"most {unconfirmed} are not confirmed yet; an item needs {self.sequence_length} "
            "consecutive rows of one stream. "
            "Add rows first, or from another thread meanwhile, or lower min_size"
        )

    def signature(self) -> dict[str, Any]:
        """The table's signature: for each column its `TensorSpec` `[T, ...]`."""
        tf, rows = self._tf, self.sequence_length
        return {
            name: tf.TensorSpec([rows, *shape], dtype, name)
            for name, (shape, dtype) in self.columns.items()
        }

    def _serve(self, folder: Path) -> EmbeddedServer:
        return serve(
            self.table,
            self.signature(),
            self.max_items,
            self.min_size,
            self.priority_exponent,
            folder,
        )

    def _settings(self) -> dict[str, Any]:
        specs = {
            name: str(leaf) for name, leaf in zip(self.layout.names, self._leaves, strict=True)
        }
        return {
            "spec": specs,
            "sequence_length": self.sequence_length,
            "stride": self.stride,
            "table": self.table,
            "priority_exponent": self.priority_exponent,
            "max_items": self.max_items,
            "min_size": self.min_size,
        }

    def _info(self) -> Any:
        # Always over the client: after a restore, Reverb 0.14's `Table` objects describe an empty
        # table.
        self._check_open()
        return table_info(self.client, self.address, self.table, self.timeout)

    def _stream(self) -> Stream:
        stream = Stream(self)
        with self._lock:
            self._streams.add(stream)
        return stream

    def _reader(self, batch_size: int | None, prefetch: int, device: Any) -> ReverbDataset:
        return ReverbDataset(self, batch_size, prefetch, device)

    def _set_priorities(self, priorities: dict[int, float]) -> None:
        self.client.mutate_priorities(self.table, priorities)

    def _flush(self) -> None:
        for stream in list(self._streams):
            stream.flush(self.timeout)

    def _flush_last(self) -> bool:
        """Whether the last rows were written within half a second: a server that is gone must not
        keep `close` waiting.
        """
        deadline = time.monotonic() + 0.5
        try:
            for stream in list(self._streams):
                stream.flush(max(0.0, deadline - time.monotonic()))
            return True
        except Exception:
            return False

    def _forget(self, max_priority: float) -> None:
        for stream in list(self._streams):
            stream.drop()
        self.generation += 1
        self._rows, self.max_priority = 0, max_priority

    def _check_owner(self, what: str) -> None:
        if not self.owns_server:
            raise RuntimeError(
                f"{what} works in the process that started the server, not through "
                f"address={self.address!r}"
            )
