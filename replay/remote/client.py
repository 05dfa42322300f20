"""A client of a Reverb server that needs neither Reverb nor TensorFlow.

It works on any Python, and takes a second to start.
"""

from collections.abc import Iterable

from ..tables.layout import known_tables
from . import wire
from .connection import Connection
from .inserts import InsertStream
from .sampler import Sampler
from .writer import Writer


class ReverbClient(Connection):
    """A client of one server, which any number of threads may use; see `Connection`.

    Args:
      address: Address of the server, "host:port".
      timeout: Seconds that a call waits for the server.

    Raises:
      ImportError: gRPC is not installed.
    """

    def server_info(self, timeout: float | None = None) -> dict[str, wire.TableInfo]:
        """Returns the server's description of its tables, by name.

        Raises:
          ConnectionError: No answer came within `timeout` seconds (this client's).
        """
        return wire.decode_tables(self.ask("ServerInfo", b"", timeout))

    def table_info(self, table: str, timeout: float | None = None) -> wire.TableInfo:
        """Returns the server's description of one table.

        Raises:
          ConnectionError: No answer came within `timeout` seconds (this client's).
          ValueError: There is no such table.
        """
        tables = self.server_info(timeout)
        if table not in tables:
            raise ValueError(
                f"the server at {self.address} has no table {table!r}, only "
                f"{known_tables(tables)}; pass table=..."
            )
        return tables[table]

    def update_priorities(self, table: str, updates: dict[int, float]) -> None:
        """Sets the priorities of items by key; ignores items that are gone."""
        self.ask("MutatePriorities", wire.encode_mutation(table, updates.items(), ()))

    def delete(self, table: str, keys: Iterable[int]) -> None:
        """Deletes items by key; ignores items that are gone."""
        self.ask("MutatePriorities", wire.encode_mutation(table, (), keys))

    def reset(self, table: str) -> None:
        """Empties a table."""
        self.ask("Reset", wire.encode_reset(table))

    def checkpoint(self) -> str:
        """Has the server write all its tables to its own disk; returns the folder's path there.

        Raises:
          RuntimeError: The server cannot, as when its disk is full.
        """
        return wire.decode_path(self.ask("Checkpoint", b"", 24 * 3600))

    def writer(
        self,
        *,
        max_rows: int,
        chunk_length: int = 16,
        max_in_flight: int = 128,
        delta_encoded: bool = False,
    ) -> Writer:
        """Returns a writer of one stream of rows, with an `InsertStream` of its own.

        Args:
          max_rows: Number of rows that items may refer back to.
          chunk_length: Number of rows in a chunk; see `Writer`.
          max_in_flight: Number of items that may be unconfirmed when more are added.
          delta_encoded: True stores integers as differences of consecutive rows.
        """
        stream = InsertStream(self, max_in_flight=max_in_flight)
        return Writer(
            stream, max_rows=max_rows, chunk_length=chunk_length, delta_encoded=delta_encoded
        )

    def sampler(self, table: str) -> Sampler:
        """Returns a reader of one table."""
        return Sampler(self, table)
