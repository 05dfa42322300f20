"""Replay on a Reverb server, embedded in this process or at an address."""

import time
from pathlib import Path
from typing import Any

import jax

from ...envs.types import Trajectory
from ..buffer import BufferSettings
from ..closing import close_at_exit
from ..tables.replay import TableReplay
from ..tables.state import TableState
from . import checkpoint
from .connection import Connection, agree_on_rows, connect, make_signature, make_table, start
from .dataset import ReverbDataset
from .runtime import quiet
from .writer import ReverbStream, make_writer


class ReverbReplay(TableReplay):
    """A `ReplayBuffer` whose items live in a Reverb table.

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
      spec: Specs of one row, `agent.collect_data_spec`.
      capacity: Largest number of rows that are kept; the oldest go first.
      sequence_length: Number of rows T in a window.
      stride: Number of rows between the beginnings of two windows.
      priority_exponent: None samples uniformly; alpha samples with probability proportional to
        priority ** alpha (Schaul et al. 2016, arXiv:1511.05952, equation 1). New items get the
        largest priority that this object has set, at least 1.
      min_size: Number of items that must be there before any can be sampled.
      timeout: Seconds after which a blocked call raises.
      seed: None, since Reverb cannot be seeded.
      address: Address "host:port" of a server that another `ReverbReplay` with the same arguments
        started (its `address`); None starts one in this process.
      table: Name of the table.
      checkpoint_dir: Folder in which the embedded server makes a private folder for unfinished
        checkpoints; on the file system that `save` writes to, saving is a rename. None takes the
        system's temporary folder.

    Raises:
      ImportError: Reverb is not installed.
      ValueError: No buffer could serve an argument, or the table at `address` contradicts it.
      ConnectionError: No server answers at `address`.
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
        settings = BufferSettings(
            capacity, sequence_length, stride, priority_exponent, min_size, timeout
        )
        super().__init__(spec, settings, seed, table)
        self.max_items = settings.max_items
        self._leaves = jax.tree.leaves(spec)
        self._signature = make_signature(self.columns, self.sequence_length)
        self._checkpoint_dir = checkpoint_dir
        self._connection = (
            self._serve(checkpoint.private_folder(checkpoint_dir))
            if address is None
            else connect(address)
        )
        self.others_write = address is not None
        if address is not None:
            self._agree(self._connection)
            checkpoint.check_table(self._info(), self._signature, self._settings())
        close_at_exit(self)

    @property
    def owns_server(self) -> bool:
        """True if the server runs in this process and belongs to this object."""
        return self._connection.owns_server

    @property
    def address(self) -> str:
        """The address of the server, "host:port"; `load` changes it."""
        return self._connection.address

    @property
    def client(self) -> Any:
        """Reverb's client of the server."""
        return self._connection.client

    def save(self, path: str | Path) -> None:
        """Writes the whole buffer into the folder `path`, atomically; other files there stay.

        Raises:
          RuntimeError: The server is not this object's own.
          OSError: The disk is full, or `path` cannot be written; what was saved there before is
            still whole.
        """
        self._check_open()
        self._check_owner("save")
        with self._lock:
            self._flush(self.timeout)
            with quiet():
                written = self.client.checkpoint()
            contents = {
                "rows": len(self),
                "items": self._info().current_size,
                "max_priority": self.max_priority,
            }
        checkpoint.publish(Path(written), Path(path), self._settings() | contents)

    def load(self, path: str | Path) -> None:
        """Replaces the contents by those that `save` wrote; this object's configuration holds.

        A new server starts from the files, at a new `address`, and the old one stops; if loading
        fails, nothing changes.

        Raises:
          FileNotFoundError: Nothing was saved there.
          ValueError: The files are damaged, or cannot serve this configuration: another spec,
            window or stride, more items.
          RuntimeError: The server is not this object's own.
        """
        self._check_open()
        self._check_owner("load")
        saved, folder = checkpoint.restore(Path(path), self._settings(), self._checkpoint_dir)
        with self._lock:
            old = self._connection
            new = None
            try:
                new = self._serve(folder)
                checkpoint.check_restored(new.table_info(self.table, self.timeout), saved)
            except (RuntimeError, ValueError) as error:
                if new is not None:
                    new.stop()
                checkpoint.discard(folder)
                raise ValueError(
                    f"{path}: the saved replay buffer is damaged ({error}); load an older one"
                ) from error
            checkpoint.discard(folder / checkpoint.RESTORED)
            self._forget(max(1.0, saved["max_priority"]))
            self._rows = min(saved["rows"], self.capacity)
            self._connection = new
        for reader in list(self._readers):
            reader.release()
        old.stop()

    def _serve(self, folder: Path) -> Connection:
        table = make_table(
            self.table, self.max_items, self.min_size, self.priority_exponent, self._signature
        )
        connection = start(table, folder)
        self._agree(connection)
        return connection

    def _agree(self, connection: Connection) -> None:
        agree_on_rows(connection, self.table, self.timeout, self.layout, self.sequence_length)

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
        self._check_open()
        return self._connection.table_info(self.table, self.timeout)

    def _states(self) -> list[TableState]:
        info = self._info()
        limiter = info.rate_limiter_info
        return [
            TableState(
                self.address,
                info.current_size,
                info.max_size,
                limiter.min_size_to_sample,
                limiter.insert_stats.completed,
                limiter.sample_stats.completed,
            )
        ]

    def _stream(self) -> ReverbStream:
        small = self.layout.is_small
        return ReverbStream(
            lambda: make_writer(
                self.client, self.table, self.columns, self.sequence_length, self.stride, small
            ),
            self.timeout,
            self.timeout_error,
        )

    def _reader(self, batch_size: int | None, prefetch: int, device: Any) -> ReverbDataset:
        return ReverbDataset(self, lambda: self._connection, batch_size, prefetch, device)

    def _set_priorities(self, priorities: dict[int, float]) -> None:
        self.client.mutate_priorities(self.table, priorities)

    def _empty_tables(self) -> None:
        self.client.reset(self.table)

    def _flush(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        for stream in self._streams:
            stream.flush(max(0.0, deadline - time.monotonic()))

    def _flush_last(self) -> bool:
        return self.owns_server or super()._flush_last()  # a server of ours ends with the buffer

    def _disconnect(self, flushed: bool) -> None:
        for stream in self._streams:
            if not flushed:
                stream.leak()
            stream.restart()
        self._connection.stop()

    def _check_owner(self, action: str) -> None:
        if not self.owns_server:
            raise RuntimeError(
                f"{action} works in the process that started the server, not through "
                f"address={self.address!r}"
            )
