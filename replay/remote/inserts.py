"""Items on their way to a server, from any number of writers."""

import threading
import time
from collections.abc import Sequence
from queue import SimpleQueue
from typing import Any, NamedTuple

from .connection import Connection
from .wire import Chunk, decode_keys, encode_insert


class EncodedItem(NamedTuple):
    """An item that is ready to be sent, with the chunks that it refers to."""

    key: int
    data: bytes
    chunks: tuple[Chunk, ...]


class InsertStream:
    """Items on their way to a server, from any number of writers and threads.

    Items are sent in the background, in order. When the connection breaks, it is opened again, and
    what the server has not confirmed is sent once more under the same keys, so that nothing is lost
    and nothing is there twice.

    Args:
      connection: Connection to the server.
      max_in_flight: Number of items that may be unconfirmed when more are added; `wait` waits until
        no more are.
    """

    def __init__(self, connection: Connection, *, max_in_flight: int = 128):
        if max_in_flight < 1:
            raise ValueError(f"max_in_flight must be at least 1, got {max_in_flight}")
        self._connection = connection
        self.max_in_flight = max_in_flight
        self._changed = threading.Condition()
        self._unconfirmed: dict[int, EncodedItem] = {}
        self._live: set[int] = set()  # chunks that later items may refer to
        self._sent: set[int] = set()  # chunks that the server keeps for this stream
        self._requests: SimpleQueue[bytes | None] = SimpleQueue()
        self._call: Any = None
        self._broken = False
        self._error: Exception | None = None  # of the last connection, until there is an answer
        self._closed = False

    @property
    def unconfirmed(self) -> int:
        """The number of items that the server has not confirmed yet."""
        return len(self._unconfirmed)

    def hold(self, key: int) -> None:
        """Keeps the chunk `key` at the server, since later items may refer to it."""
        with self._changed:
            self._live.add(key)

    def release(self, key: int) -> None:
        """Lets go of the chunk `key`, to which no later item refers."""
        with self._changed:
            self._live.discard(key)

    def insert(self, items: Sequence[EncodedItem]) -> None:
        """Sends items, without waiting for the server.

        Raises:
          RuntimeError: This stream is closed.
        """
        with self._changed:
            self._check_open()
            self._unconfirmed.update((item.key, item) for item in items)
            if self._call is None or self._broken:
                self._open()
            else:
                self._send(items)

    def wait(self, leave: int | None = None, timeout: float | None = None) -> None:
        """Waits until at most `leave` items (`max_in_flight`) are unconfirmed.

        Raises:
          TimeoutError: The server took longer than `timeout` seconds (the connection's): it blocks
            writers, or hangs.
          ConnectionError: The server was not there for that long.
          ValueError, RuntimeError: The server refused an item.
        """
        leave = self.max_in_flight if leave is None else leave
        timeout = self._connection.timeout if timeout is None else timeout
        deadline = time.monotonic() + timeout
        with self._changed:
            while not self._closed:
                if self._error is not None and not self._connection.is_transient(self._error):
                    raise self._connection.explain(self._error) from self._error
                if len(self._unconfirmed) <= leave:
                    return
                if time.monotonic() > deadline:
                    break
                if self._broken:
                    self._changed.wait(0.1)
                    if self._broken and not self._closed:  # unless another thread was faster
                        self._open()
                self._changed.wait(min(0.5, max(0.0, deadline - time.monotonic())))
            self._check_open()
            if self._error is not None:
                raise self._connection.explain(self._error) from self._error
        raise TimeoutError(
            f"writing took longer than {timeout:g} s: {self.unconfirmed} items are not confirmed "
            f"by {self._connection.address}"
        )

    def close(self) -> None:
        """Ends the stream; what is not confirmed may be lost."""
        with self._changed:
            self._closed = True
            self._requests.put(None)
            if self._call is not None:
                self._call.cancel()
            self._changed.notify_all()

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("this stream of items is closed; open another one to go on")

    def _open(self) -> None:
        self._requests.put(None)
        self._requests = SimpleQueue()
        self._broken = False
        self._sent.clear()
        self._call = self._connection.stream("InsertStream", iter(self._requests.get, None))
        threading.Thread(
            target=self._listen, args=(self._call,), name="reverb-insert", daemon=True
        ).start()
        self._send(list(self._unconfirmed.values()))

    def _send(self, items: Sequence[EncodedItem]) -> None:
        if not items:
            return
        chunks = {
            chunk.key: chunk
            for item in items
            for chunk in item.chunks
            if chunk.key not in self._sent
        }
        self._sent = {key for key in self._sent.union(chunks) if key in self._live}
        self._requests.put(
            encode_insert(chunks.values(), (item.data for item in items), self._sent)
        )

    def _listen(self, call: Any) -> None:
        error: Exception = ConnectionAbortedError(
            f"the server at {self._connection.address} ended the stream"
        )
        try:
            for answer in call:
                keys = decode_keys(answer)
                with self._changed:
                    for key in keys:
                        self._unconfirmed.pop(key, None)
                    self._error = None
                    self._changed.notify_all()
        except Exception as broken:
            error = broken
        with self._changed:
            if self._call is call and not self._closed:
                self._error = error
                self._broken = True
                self._changed.notify_all()
