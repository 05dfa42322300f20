"""A client of a Reverb server that needs neither Reverb nor TensorFlow: any Python, and a second to
start.
"""

import time
from collections.abc import Iterable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from . import wire

if TYPE_CHECKING:
    from .sampler import Sampler
    from .writer import Writer

_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.enable_http_proxy", 0),
)
_TRANSIENT = {"UNAVAILABLE", "CANCELLED", "UNKNOWN", "INTERNAL", "DEADLINE_EXCEEDED"}


def import_grpc() -> ModuleType:
    """The module grpc.

    Raises:
      ImportError: naming the command that installs it.
    """
    try:
        import grpc
    except ImportError as error:
        raise ImportError(
            f'a client of Reverb needs gRPC ({error}): pip install "jax-agents[remote]"'
        ) from error
    return grpc


class ReverbClient:
    """A connection to one server, which any number of threads may use.

    It connects when it is first used, and again by itself when a server comes back. A process must
    not fork once it has a client: start processes with the "spawn" method, and make a client in
    each.

    Args:
      address: "host:port".
      timeout: seconds that a call waits for the server.

    Raises:
      ImportError: gRPC is not installed.
    """

    def __init__(self, address: str, *, timeout: float = 30.0):
        self._grpc = import_grpc()
        self.address, self.timeout = address, timeout
        self._channel = self._grpc.insecure_channel(address, options=_OPTIONS)
        self._calls: dict[str, Any] = {}

    def server_info(self, timeout: float | None = None) -> dict[str, wire.TableInfo]:
        """What the server tells of its tables, by name.

        Raises:
          ConnectionError: no answer within `timeout` seconds (this client's).
        """
        return wire.decode_tables(self._ask("ServerInfo", b"", timeout))

    def table_info(self, table: str, timeout: float | None = None) -> wire.TableInfo:
        """What the server tells of one table.

        Raises:
          ConnectionError: no answer within `timeout` seconds (this client's).
          ValueError: there is no such table.
        """
        tables = self.server_info(timeout)
        if table not in tables:
            raise ValueError(
                f"the server at {self.address} has no table {table!r}, only {sorted(tables)}; "
                "pass table=..."
            )
        return tables[table]

    def update_priorities(self, table: str, updates: dict[int, float]) -> None:
        """Sets the priorities of items by key; items that are gone are passed over."""
        self._ask("MutatePriorities", wire.encode_mutation(table, updates.items(), ()))

    def delete(self, table: str, keys: Iterable[int]) -> None:
        """Deletes items by key; items that are gone are passed over."""
        self._ask("MutatePriorities", wire.encode_mutation(table, (), keys))

    def reset(self, table: str) -> None:
        """Empties a table."""
        self._ask("Reset", wire.encode_reset(table))

    def checkpoint(self) -> str:
        """Has the server write all its tables to its own disk; the folder's path there.

        Raises:
          RuntimeError: it cannot, as when its disk is full.
        """
        return wire.decode_path(self._ask("Checkpoint", b"", 24 * 3600))

    def writer(
        self,
        *,
        max_rows: int,
        chunk_length: int = 16,
        max_in_flight: int = 128,
        delta_encoded: bool = False,
    ) -> "Writer":
        """A writer of one stream of rows with a connection of its own; see `Writer` and
        `InsertStream`.
        """
        from .writer import InsertStream, Writer

        stream = InsertStream(self, max_in_flight=max_in_flight)
        return Writer(
            stream, max_rows=max_rows, chunk_length=chunk_length, delta_encoded=delta_encoded
        )

    def sampler(self, table: str) -> "Sampler":
        """A reader of one table; see `Sampler`."""
        from .sampler import Sampler

        return Sampler(self, table)

    def close(self) -> None:
        """Closes the connection, which ends writers and samplers too."""
        self._channel.close()

    def stream(self, method: str, requests: Iterable[bytes]) -> Any:
        """Opens a stream of requests and answers, both as bytes."""
        if method not in self._calls:
            self._calls[method] = self._channel.stream_stream(wire.SERVICE + method)
        return self._calls[method](requests)

    def code(self, error: Exception | None) -> str:
        """gRPC's name for the error, such as UNAVAILABLE; empty for errors of another origin."""
        return error.code().name if isinstance(error, self._grpc.RpcError) else ""

    def is_transient(self, error: Exception) -> bool:
        """Whether the connection broke, rather than the server refused: then it is worth trying
        again.
        """
        return isinstance(error, ConnectionError) or self.code(error) in _TRANSIENT

    def explain(self, error: Any) -> Exception:
        """The exception to raise for an error of gRPC, with the address and what to do."""
        code = self.code(error)
        if not code:
            return error
        if code == "NOT_FOUND":
            return ValueError(f"the server at {self.address}: {error.details()}; pass table=...")
        if code in _TRANSIENT:
            return ConnectionError(
                f"no Reverb server answers at {self.address} ({code}: {error.details()}); is it "
                "running, and is this its "
                "address? Start one with `jax-agents replay-server`"
            )
        return RuntimeError(
            f"the Reverb server at {self.address} refused: {code}: {error.details()}"
        )

    def _ask(self, method: str, request: bytes, timeout: float | None = None) -> bytes:
        if method not in self._calls:
            self._calls[method] = self._channel.unary_unary(wire.SERVICE + method)
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            try:
                return self._calls[method](
                    request, timeout=max(0.0, deadline - time.monotonic()), wait_for_ready=True
                )
            except self._grpc.RpcError as error:
                # A connection that breaks during the call ends it at once; with what is left of the
                # time, try again.
                if (
                    self.code(error) != "UNAVAILABLE"
                    or method == "Checkpoint"
                    or time.monotonic() > deadline
                ):
                    raise self.explain(error) from error
                time.sleep(0.05)
