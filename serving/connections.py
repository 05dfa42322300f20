"""What one connection may cost the server before its request is whole: bytes, time, and a place.

uvicorn reads headers without limit, and waits for the rest of a request for ever.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol as _Protocol
    from uvicorn.server import ServerState
else:
    _Protocol = object  # `limited_protocol` adds uvicorn's own, which not everyone has

# A body in chunks of one byte costs so many bytes for each of its own.
_CHUNKED = 9
_ABORT_SECONDS = 1.0  # for the last answer to leave


class ConnectionLimits(NamedTuple):
    """The limits of a server's connections.

    Attributes:
      header_bytes: Greatest number of bytes of a request besides its body: its first line, its
        headers, and those after the body.
      request_seconds: Seconds in which a request has to be there whole, and in which a new
        connection has to send its first.
      answer_seconds: Seconds after which a request that has no answer is given up.
      max_connections: Greatest number of open connections. Where there are as many, the oldest
        that has sent no whole request makes room for a new one; without such, the new one is
        refused.
    """

    header_bytes: int = 32_768
    request_seconds: float = 15.0
    answer_seconds: float = 120.0
    max_connections: int = 500


def limited_protocol(limits: ConnectionLimits) -> "type[_Protocol]":
    """Returns uvicorn's protocol with limits, for `uvicorn.Config(http=...)`.

    Args:
      limits: Limits, of which the number of connections holds for all of one server.
    """

    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    class Limited(_LimitedProtocol, HttpToolsProtocol):
        def __init__(
            self,
            config: "Config",
            server_state: "ServerState",
            app_state: dict[str, Any],
            _loop: asyncio.AbstractEventLoop | None = None,
        ) -> None:
            super().__init__(config, server_state, app_state, _loop)
            self.limits = limits

    return Limited


class _LimitedProtocol(_Protocol):
    """A connection of uvicorn's that ends where a request, or its answer, takes too long."""

    limits = ConnectionLimits()
    _refused = False
    _established = False  # it has sent a whole request
    _timer: asyncio.TimerHandle | None = None
    _received = 0  # bytes of the request that is coming in
    _in_headers = 0  # those of its headers, as they are read
    _in_body = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.limits.max_connections and not self._make_room():
            self._refuse(503, "too many connections; try again later")
            return
        self._arm(self.limits.request_seconds, self._too_late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if self._timer is None:
            self._arm(self.limits.request_seconds, self._too_late)
        self._received += len(data)
        super().data_received(data)
        if self._received > self.limits.header_bytes + _CHUNKED * self._in_body:
            self._too_large()

    def on_message_begin(self) -> None:
        self._count_anew()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._in_headers += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._in_headers += len(name) + len(value)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._in_headers > self.limits.header_bytes:
            self._too_large()
        if not self._refused:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._in_body += len(body)
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._count_anew()
        if self._refused:
            return
        self._established = True
        if self.cycle is not None and self.cycle.response_complete:  # refused before it was whole
            self._disarm()
        else:
            self._arm(self.limits.answer_seconds, self._abort)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        if self.pipeline:
            self._arm(self.limits.answer_seconds, self._abort)  # for the next one's
        elif self.cycle is not None and not self.cycle.more_body:
            self._disarm()
        super().on_response_complete()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self.loop.call_later(_ABORT_SECONDS, self._abort)  # where nobody reads the last answer

    def shutdown(self) -> None:
        """Answers what is whole, and ends a connection whose request is not."""
        if self.cycle is not None and not self.cycle.response_complete and self.cycle.more_body:
            self._refuse(503, "the server is ending")
        else:
            super().shutdown()

    def give_way(self) -> bool:
        """Ends this connection if it has sent no whole request, and returns True if it did."""
        if self._established or self._refused:
            return False
        self._refused = True
        self._abort()
        return True

    def _make_room(self) -> bool:
        others: list[_LimitedProtocol] = [
            other
            for other in self.connections
            if isinstance(other, _LimitedProtocol) and other is not self
        ]
        oldest = sorted(others, key=lambda other: other._since)
        return any(other.give_way() for other in oldest)

    @property
    def _since(self) -> float:
        return self._timer.when() if self._timer is not None else float("inf")

    def _count_anew(self) -> None:
        self._received = self._in_headers = self._in_body = 0

    def _too_late(self) -> None:
        self._refuse(408, f"the request was not whole in {self.limits.request_seconds:g} s")

    def _too_large(self) -> None:
        self._refuse(431, f"expected at most {self.limits.header_bytes} bytes of headers")

    def _refuse(self, status: int, message: str) -> None:
        """Answers in a few words, unless an answer has begun, and ends the connection."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        self._disarm()
        cycle = self.cycle
        if cycle is None or cycle.response_complete or not cycle.response_started:
            content = b'{"detail": "' + message.encode() + b'"}'
            self.transport.write(
                f"HTTP/1.1 {status} \r\ncontent-type: application/json\r\n"
                f"content-length: {len(content)}\r\nconnection: close\r\n\r\n".encode()
                + content
            )
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()  # the application hears that its client is gone
        self.transport.close()
        self.loop.call_later(_ABORT_SECONDS, self._abort)

    def _abort(self) -> None:
        self.transport.abort()

    def _arm(self, seconds: float, then: Callable[[], None]) -> None:
        self._disarm()
        self._timer = self.loop.call_later(seconds, then)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
