"""Servers for the HTTP side of a `PolicyService`: until a signal comes, or on a thread."""

import contextlib
import ipaddress
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from .app import INSTALL, MAX_BODY, check_token, make_app
from .service import PolicyService

if TYPE_CHECKING:
    import uvicorn

    from .connections import ConnectionLimits


def run_server(
    service: PolicyService,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    max_body: int = MAX_BODY,
    on_listening: Callable[[str], None] | None = None,
    grace: int = 5,
    limits: "ConnectionLimits | None" = None,
) -> None:
    """Serves until SIGINT or SIGTERM, then answers the requests that are open and returns.

    A request that is not whole by then is not waited for.

    Args:
      service: Service that has not been started.
      host: Address to listen at; other machines can reach all but the loopback ones.
      port: Port; 0 for any free one.
      token: Token that clients send; see `make_app`.
      max_body: Greatest number of bytes in a request.
      on_listening: Function called with the server's address, such as http://127.0.0.1:8000, once
        requests are answered.
      grace: Seconds for the requests that are open at the end.
      limits: Limits of connections; None for those of `connections.ConnectionLimits()`.

    Raises:
      ValueError: if other machines could reach the server without a token, or the token is empty.
      ImportError: if FastAPI or uvicorn is not installed.
      OSError: if the port is taken.
      RuntimeError: if the server could not start.
    """
    server, listener, _ = _server(service, host, port, token, max_body, on_listening, grace, limits)
    before = signal.getsignal(signal.SIGTERM)
    try:  # uvicorn raises the signal that ended it again once it has shut down
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)
        listener.close()
    if not server.started:
        raise RuntimeError("the server could not start; the log says why")


@contextlib.contextmanager
def serve_in_background(
    service: PolicyService,
    *,
    port: int = 0,
    token: str | None = None,
    max_body: int = MAX_BODY,
    limits: "ConnectionLimits | None" = None,
) -> Iterator[str]:
    """Serves on a thread, at 127.0.0.1, during a `with` block; gives the address.

    Use it in notebooks and tests.

    Args:
      service: Service that has not been started.
      port: Port; 0 for any free one.
      token: Token that clients send; see `make_app`.
      max_body: Greatest number of bytes in a request.
      limits: Limits of connections; see `run_server`.

    Raises:
      RuntimeError: if the server could not start.
    """
    started = threading.Event()
    server, listener, address = _server(
        service, "127.0.0.1", port, token, max_body, lambda _: started.set(), 10, limits
    )
    thread = threading.Thread(
        target=server.run, kwargs={"sockets": [listener]}, name="server", daemon=True
    )
    thread.start()
    try:
        while not started.wait(0.1):
            if not thread.is_alive():
                raise RuntimeError("the server could not start; the log says why")
        yield address
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def _server(
    service: PolicyService,
    host: str,
    port: int,
    token: str | None,
    max_body: int,
    on_listening: Callable[[str], None] | None,
    grace: int,
    limits: "ConnectionLimits | None",
) -> tuple["uvicorn.Server", socket.socket, str]:
    """Returns a uvicorn server, the socket that it is to serve, and its address."""
    check_token(token)
    if token is None and not _is_loopback(host):
        raise ValueError(
            f"serving at {host} without a token would let everyone in; give one, or serve at "
            "127.0.0.1"
        )
    try:
        import uvicorn

        from .connections import ConnectionLimits, limited_protocol
    except ImportError as error:
        raise ImportError(INSTALL) from error
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=1024)
    address = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
    on_start = None if on_listening is None else lambda: on_listening(address)
    config = uvicorn.Config(
        make_app(service, token=token, max_body=max_body, on_start=on_start),
        http=limited_protocol(limits or ConnectionLimits()),
        ws="none",  # there are no web sockets, and their connections would have no limits
        log_config=None,  # uvicorn's own would close the handlers that the program has opened
        log_level="warning",
        access_log=False,
        timeout_keep_alive=75,  # longer than clients keep a connection that they do not use
        timeout_graceful_shutdown=grace,
        server_header=False,
        lifespan="on",
    )
    return uvicorn.Server(config), listener, address


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
