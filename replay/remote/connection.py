"""A connection to a Reverb server by gRPC: calls, streams, and the meaning of their errors."""

import time
from collections.abc import Iterable
from types import ModuleType
from typing import Any

SERVICE = "/deepmind.reverb.ReverbService/"
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
    """Returns the module grpc.

    Raises:
      ImportError: gRPC is not installed; the message names the command that installs it.
    """
    try:
        import grpc
    except ImportError as error:
        raise ImportError(
            f'a client of Reverb needs gRPC ({error}): pip install "jax-agents[remote]"'
        ) from error
    return grpc


class Connection:
    """A connection to one server, which any number of threads may use.

    It connects when it is first used, and again by itself when a server comes back. A process must
    not fork once it has a connection: start processes with the "spawn" method, and connect in each.

    Args:
      address: Address of the server, "host:port".
      timeout: Seconds that a call waits for the server.

    Raises:
      ImportError: gRPC is not installed.
    """

    def __init__(self, address: str, *, timeout: float = 30.0):
        self._grpc = import_grpc()
        self.address = address
        self.timeout = timeout
        self._channel = self._grpc.insecure_channel(address, options=_OPTIONS)
        self._calls: dict[str, Any] = {}

    def close(self) -> None:
        """Closes the connection, which ends its streams too."""
        self._channel.close()

    def ask(self, method: str, request: bytes, timeout: float | None = None) -> bytes:
        """Sends one request, and returns the answer.

        Raises:
          ConnectionError: No answer came within `timeout` seconds (this connection's).
          ValueError, RuntimeError: The server refused; see `explain`.
        """
        if method not in self._calls:
            self._calls[method] = self._channel.unary_unary(SERVICE + method)
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

    def stream(self, method: str, requests: Iterable[bytes]) -> Any:
        """Opens a stream of requests and answers, both as bytes."""
        if method not in self._calls:
            self._calls[method] = self._channel.stream_stream(SERVICE + method)
        return self._calls[method](requests)

    def code(self, error: Exception | None) -> str:
        """Returns gRPC's name for an error, such as UNAVAILABLE; no text for another error."""
        return error.code().name if isinstance(error, self._grpc.RpcError) else ""

    def is_transient(self, error: Exception) -> bool:
        """Returns True if the connection broke, so that it is worth trying again.

        It is False where the server refused.
        """
        return isinstance(error, ConnectionError) or self.code(error) in _TRANSIENT

    def explain(self, error: Any) -> Exception:
        """Returns the exception to raise for an error of gRPC, with the address and what to do."""
        code = self.code(error)
        if not code:
            return error
        if code == "NOT_FOUND":
            return ValueError(f"the server at {self.address}: {error.details()}; pass table=...")
        if code in _TRANSIENT:
            return ConnectionError(
                f"no Reverb server answers at {self.address} ({code}: {error.details()}); is it "
                "running, and is this its address? Start one with `jax-agents replay-server`"
            )
        return RuntimeError(
            f"the Reverb server at {self.address} refused: {code}: {error.details()}"
        )
