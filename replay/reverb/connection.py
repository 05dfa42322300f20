"""Connections to Reverb servers, in this process or elsewhere."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..packing import RowLayout
from ..tables.layout import MAX_ENTRIES, check_layout, encode_layout, known_tables, layout_table
from .runtime import import_reverb, quiet


class Connection:
    """A client of a server and its address; and the server itself, where it runs in this process.

    Args:
      client: Reverb's client.
      address: Address of the server, "host:port".
      server: Reverb's server in this process; None where it is elsewhere.
      folder: Folder that this server's checkpointer has to itself.
    """

    def __init__(self, client: Any, address: str, server: Any = None, folder: Path | None = None):
        self.client = client
        self.address = address
        self._server = server
        self._folder = folder
        self.owns_server = server is not None

    def table_info(self, table: str, timeout: float) -> Any:
        """Returns Reverb's description of a table.

        It comes from the client, since after a restore Reverb 0.14's `Table` objects are dead.

        Args:
          table: Name of the table.
          timeout: Seconds to wait for the answer.

        Raises:
          ConnectionError: No answer came in time.
          ValueError: There is no such table.
        """
        try:
            tables = self.client.server_info(timeout=max(1, round(timeout)))
        except Exception as error:
            raise ConnectionError(
                f"no Reverb server answers at {self.address} ({type(error).__name__}: {error}); "
                "is it running?"
            ) from error
        if table not in tables:
            raise ValueError(
                f"the server at {self.address} has no table {table!r}, only "
                f"{known_tables(tables)}; pass table=..."
            )
        return tables[table]

    def stop(self) -> None:
        """Stops the server, if it is here, and deletes its folder.

        Readers must have gone: they would wait for its return for ever.
        """
        if self._server is not None:
            with quiet():
                self._server.stop()
            self._server = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def connect(address: str) -> Connection:
    """Connects to a server elsewhere; nothing is sent yet."""
    reverb, _ = import_reverb()
    return Connection(reverb.Client(address), address)


def start(table: Any, folder: Path) -> Connection:
    """Starts a server with one table, and that of its layout, on a free port of this process.

    Args:
      table: Reverb's table.
      folder: Folder of its checkpoints; the server starts from the newest, where there is one.
    """
    reverb, _ = import_reverb()
    with quiet():
        server = reverb.Server(
            [table, make_layout_table(table.name)],
            checkpointer=reverb.checkpointers.DefaultCheckpointer(str(folder)),
        )
    # Under this name readers notice that they share the process, and bypass gRPC.
    client = reverb.Client(f"localhost:{server.port}")
    return Connection(client, client.server_address, server, folder)


def make_table(
    name: str,
    max_items: int,
    min_size: int,
    priority_exponent: float | None,
    signature: Mapping[str, Any] | None = None,
) -> Any:
    """Returns Reverb's table of windows, of which the oldest goes first.

    Args:
      name: Name of the table.
      max_items: Largest number of windows in it.
      min_size: Number of windows that must be there before any can be sampled. It never blocks a
        writer, so that one thread can write and read.
      priority_exponent: Power of the priority to which a window's probability is proportional; None
        samples uniformly.
      signature: `TensorSpec` of each column; None leaves the columns open.
    """
    reverb, _ = import_reverb()
    selectors = reverb.selectors
    uniform = priority_exponent is None
    return reverb.Table(
        name,
        selectors.Uniform() if uniform else selectors.Prioritized(priority_exponent),
        selectors.Fifo(),
        max_items,
        reverb.rate_limiters.MinSize(min_size),
        signature=signature,
    )


def make_layout_table(name: str) -> Any:
    """Returns Reverb's table of the layouts of a table's rows (`tables.layout`)."""
    reverb, _ = import_reverb()
    fifo = reverb.selectors.Fifo
    limiter = reverb.rate_limiters.MinSize(1)
    return reverb.Table(layout_table(name), fifo(), fifo(), MAX_ENTRIES, limiter)


def agree_on_rows(
    connection: Connection, table: str, timeout: float, layout: RowLayout, rows: int
) -> None:
    """Compares the rows of this client with those of a table; the first client defines them.

    A server of another program, which has no table for it, is left alone.

    Args:
      connection: Connection to the table's server.
      table: Name of the table.
      timeout: Seconds to wait for an answer.
      layout: Layout of this client's rows.
      rows: Number of rows in an item.

    Raises:
      ValueError: The rows differ; the message names each leaf.
    """
    name = layout_table(table)
    try:
        info = connection.table_info(name, timeout)
    except ValueError:
        return
    client = connection.client
    with quiet():
        if not info.current_size:
            with client.trajectory_writer(1) as writer:
                writer.append([encode_layout(layout, rows)])
                writer.create_item(name, 1.0, [writer.history[0][-1:]])
                writer.flush(timeout_ms=round(1000 * timeout))
        (entry,) = next(iter(client.sample(name, 1, emit_timesteps=False))).data
    check_layout(table, connection.address, entry, layout, rows)


def make_signature(columns: Mapping[str, tuple[tuple[int, ...], np.dtype]], rows: int) -> Any:
    """Returns the `TensorSpec` `[rows, ...]` of each column.

    Args:
      columns: Shape of a row and dtype of each column.
      rows: Number of rows in an item.
    """
    _, tf = import_reverb()
    return {
        name: tf.TensorSpec([rows, *shape], dtype, name) for name, (shape, dtype) in columns.items()
    }


def read_table(
    address: str,
    table: str,
    signature: Mapping[str, Any],
    *,
    in_flight: int,
    workers: int,
    timeout_ms: int,
    max_samples: int = -1,
) -> Any:
    """Returns Reverb's tf.data.Dataset of the items of a table.

    Args:
      address: Address of the server.
      table: Name of the table.
      signature: `TensorSpec` of each column.
      in_flight: Number of items that a worker requests ahead of their use.
      workers: Number of workers; more than one changes the order.
      timeout_ms: Milliseconds without an item after which the dataset ends.
      max_samples: Number of items after which the dataset ends; -1: none.
    """
    reverb, _ = import_reverb()
    return reverb.TrajectoryDataset(
        server_address=address,
        table=table,
        dtypes={name: spec.dtype for name, spec in signature.items()},
        shapes={name: spec.shape for name, spec in signature.items()},
        max_in_flight_samples_per_worker=in_flight,
        num_workers_per_iterator=workers,
        rate_limiter_timeout_ms=timeout_ms,
        max_samples=max_samples,
    )
