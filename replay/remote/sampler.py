"""The reading side of the client of Reverb servers: sampled items, requested ahead of their use."""

import threading
import time
from collections import deque
from queue import SimpleQueue
from typing import Any

from .connection import Connection
from .samples import Item, SampleDecoder
from .wire import encode_sample_request

# A server whose rate limiter lets nothing be sampled ends the stream after this time, and the
# stream is opened again. Were it cancelled by the client instead, the server would still sample for
# it later, and items that a table hands out only once would be lost.
LIMITER_TIMEOUT_MS = 500
PAUSE = 0.1  # seconds before a stream that ended by itself is opened again


class Sampler:
    """Items of one table as the server draws them, read and unpacked by a thread of their own.

    The server counts all requested items as sampled, those ahead of their use too.

    Args:
      connection: Connection to the server.
      table: Name of the table.
    """

    def __init__(self, connection: Connection, table: str):
        self._connection = connection
        self.table = table
        self._changed = threading.Condition()
        self._items: deque[Item] = deque()
        self._coming = 0  # requested items that have not come
        self._requests: SimpleQueue[bytes | None] = SimpleQueue()
        self._call: Any = None
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None
        self._closed = False

    def take(self, num: int, *, ahead: int = 0, timeout: float | None = None) -> list[Item]:
        """Returns the next items.

        Args:
          num: Number of items to return.
          ahead: Number of items to request beyond these.
          timeout: Seconds to wait for the items; None: the connection's timeout.

        Raises:
          TimeoutError: if the items did not come in time; those that came are kept.
          ConnectionError: if the server could not be reached until the timeout.
          ValueError: if there is no such table.
          RuntimeError: if the server has failed, or its answers cannot be read. Later calls raise
            it too.
          StopIteration: if this sampler is closed, so that an iterator over it ends.
        """
        timeout = self._connection.timeout if timeout is None else timeout
        deadline = time.monotonic() + timeout
        with self._changed:
            self._request(num + ahead - len(self._items) - self._coming)
            while len(self._items) < num:
                if self._closed:
                    raise StopIteration
                left = deadline - time.monotonic()
                fatal = self._error is not None and not self._connection.is_transient(self._error)
                if self._error is not None and (fatal or left <= 0):
                    raise self._connection.explain(self._error) from self._error
                if left <= 0:
                    raise TimeoutError(
                        f"sampling took longer than {timeout:g} s: {len(self._items)} of {num} "
                        f"items came from table {self.table!r} at {self._connection.address}; "
                        "`server_info()` shows what it is waiting for"
                    )
                self._changed.wait(left)
            return [self._items.popleft() for _ in range(num)]

    def close(self) -> None:
        """Ends the stream, and each waiting `take` with StopIteration."""
        with self._changed:
            self._closed = True
            self._requests.put(None)
            if self._call is not None:
                self._call.cancel()
            self._items.clear()
            self._changed.notify_all()

    def _request(self, num: int) -> None:
        """Requests further items; the lock is held."""
        if num <= 0 or self._closed:
            return
        self._coming += num
        self._requests.put(encode_sample_request(self.table, num, LIMITER_TIMEOUT_MS))
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="reverb-sample", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._coming > 0 or self._closed)
                if self._closed:
                    return
                # One request for all that has not come, in place of those of the stream before.
                self._requests = SimpleQueue()
                self._requests.put(
                    encode_sample_request(self.table, self._coming, LIMITER_TIMEOUT_MS)
                )
            error = self._read()
            with self._changed:
                self._requests.put(None)  # ends the requests of the stream that has ended
                limited = self._connection.code(error) == "DEADLINE_EXCEEDED"
                self._error = None if limited else error
                self._changed.notify_all()
                if error is not None and not self._connection.is_transient(error):
                    return
                if not limited:
                    self._changed.wait_for(lambda: self._closed, PAUSE)

    def _read(self) -> Exception | None:
        decoder = SampleDecoder()
        try:
            with self._changed:
                self._call = self._connection.stream("SampleStream", iter(self._requests.get, None))
            for answer in self._call:
                items = decoder.feed(answer)
                with self._changed:
                    self._coming -= len(items)
                    self._items.extend(items)
                    self._error = None
                    self._changed.notify_all()
        except Exception as error:
            return error
        return None
