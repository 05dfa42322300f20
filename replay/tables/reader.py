"""The base of the iterators over the items of tables."""

import abc
import threading
from collections.abc import Iterator

from ...envs.types import Sample
from ..prefetch import DeviceCopies
from .replay import TableReplay


class TableReader(Iterator[Sample], abc.ABC):
    """The iterator that `TableReplay.as_dataset` returns; threads may share it.

    Args:
      replay: Buffer that is read.
      batch_size: Number of windows in a batch; None gives unbatched windows.
      copies: Copies of batches to a device.
    """

    def __init__(self, replay: TableReplay, batch_size: int | None, copies: DeviceCopies):
        self._replay = replay
        self._batch_size = batch_size
        self._copies = copies
        self._lock = threading.Lock()
        self._generation = -1

    def __next__(self) -> Sample:
        """Returns the next batch.

        Raises:
          TimeoutError: Nothing could be sampled for the buffer's `timeout` seconds; the message has
            the tables' state.
          ConnectionError: A server was not there for that long.
          StopIteration: The buffer was closed.
        """
        with self._lock:
            while True:
                if self._generation != self._replay.generation:
                    self._forget()
                    self._generation = self._replay.generation
                try:
                    return self._copies.next(self._draw)
                except StopIteration:  # what is read was closed: at the end, or to be forgotten
                    self._replay.check_reader()
                except Exception:
                    self._replay.check_reader()  # closed meanwhile: that is the end, whatever broke
                    raise

    @abc.abstractmethod
    def release(self, timeout: float = -1) -> None:
        """Lets go of the servers, from any thread; waits at most `timeout` seconds for `next`."""

    @abc.abstractmethod
    def _draw(self) -> Sample:
        """Returns a batch as NumPy arrays."""

    @abc.abstractmethod
    def _forget(self) -> None:
        """Drops what was read ahead, under the lock."""
