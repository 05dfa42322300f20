"""Queues of on-policy experience: what every queue does, whether its items wait in this process or
on a Reverb server.
"""

import abc
import collections
import threading
import time
from collections.abc import Iterator

import jax
import numpy as np

from ...envs.types import TimeStep, Trajectory, Tree
from ..packing import RowLayout
from ..replay import Observer
from .assembler import Assembler


class ExperienceQueue(abc.ABC):
    """Rows in; segments or whole episodes out, in the order in which they were completed, each of
    them once.

    An item is a `Trajectory` `[T + 1, ...]`, which agents' `prepare` takes in batches
    `[B, T + 1, ...]`.

    Segments: T = `num_rows` consecutive rows of one stream and the bootstrap row, which only has
    the step type and the observation of the row after them, with which the next segment begins. So
    a segment is complete when that row comes, or by `bootstrap`.

    Episodes (`episodes=True`), T = `num_rows` + 1: all rows of one episode with its boundary row,
    which is repeated up to T + 1 rows (once at least, since row T is left out of statistics) and,
    as all boundary rows, weighs nothing. An episode is complete when its boundary row comes, as
    after `driver.run(num_episodes=...)`. What a stream shows of an episode before its first FIRST
    row is left out.

    A row that does not continue its stream drops the rows of the open item; `num_dropped` counts
    such rows.

    Args:
      spec: a tree of specs of one row, `agent.collect_data_spec`.
      num_rows: the rows of a segment, or the steps that an episode may have.
      episodes: whether items are whole episodes.
      capacity: the most items that wait; adding a row that completes one more blocks until one is
        taken.
      timeout: seconds after which a blocked call raises. Nothing is lost then: a row that was added
        is kept.

    Raises:
      ValueError: an argument that no queue could serve.
    """

    def __init__(
        self, spec: Trajectory, num_rows: int, episodes: bool, capacity: int, timeout: float
    ):
        for name, value in (("num_rows", num_rows), ("capacity", capacity)):
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
                raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")
        if not timeout > 0:
            raise ValueError(f"timeout must be a positive number of seconds, got {timeout!r}")
        self.spec, self.num_rows, self.episodes = spec, int(num_rows), episodes
        self.capacity, self.timeout = int(capacity), timeout
        self.layout = RowLayout(spec)
        self.closed = threading.Event()
        self._streams: list[_Streams] = []
        self._own: _Streams | None = None
        self._taken: collections.deque[Trajectory] = (
            collections.deque()
        )  # out of the queue, and in no batch yet
        self._reading = threading.Lock()

    @abc.abstractmethod
    def __len__(self) -> int:
        """The items that wait."""

    @property
    def num_dropped(self) -> int:
        """Rows added here that no item will ever hold."""
        return sum(streams.assembler.num_dropped for streams in self._streams)

    def add(self, row: Trajectory) -> None:
        """Adds a row, or one row from each of n environments (leaves `[n, ...]`, n streams), to the
        queue's own streams.

        Raises:
          SpecError: the row does not meet the spec; nothing is added.
          ValueError: another n than before, or an episode of more than `num_rows` steps.
          TimeoutError: the queue stayed full; the row is kept, and its item goes in first later.
          RuntimeError: the queue is closed.
        """
        if self._own is None:
            self._own = self._new_streams()
        self._own.add(row)

    def writer(self) -> Observer:
        """An observer for more streams, of rows or of batches of n rows; use each from one thread
        at a time.
        """
        return self._new_streams().add

    def bootstrap(self, time_step: TimeStep) -> None:
        """Completes the segments of the queue's own streams that lack their bootstrap row only,
        with the time step where the driver stopped; so that what was collected can be learned from
        before the next row is made."""
        if self._own is not None:
            self._own.bootstrap(time_step)

    def as_dataset(self, sample_batch_size: int) -> Iterator[Trajectory]:
        """An endless iterator of batches `[B, T + 1, ...]`, NumPy. Datasets may be shared by
        threads; each item goes to one.

        `next` raises a TimeoutError if no batch could be filled for `timeout` seconds (what was
        taken is in the next one), and StopIteration once the queue is closed.

        Raises:
          ValueError: the batch size is less than 1.
        """
        if sample_batch_size < 1:
            raise ValueError(f"sample_batch_size must be at least 1, got {sample_batch_size}")
        return _Dataset(self, sample_batch_size)

    def take(self, count: int) -> list[Trajectory]:
        """The next `count` items `[T + 1, ...]`; see `as_dataset` for what it raises."""
        deadline = time.monotonic() + self.timeout
        if not self._reading.acquire(timeout=self.timeout):
            raise self._timeout_error(f"waiting for {count} items")
        try:
            while len(self._taken) < count:
                if self.closed.is_set():
                    raise StopIteration
                if time.monotonic() > deadline:
                    raise self._timeout_error(f"waiting for {count} items")
                self._taken.extend(self._get(count - len(self._taken), deadline))
            return [self._taken.popleft() for _ in range(count)]
        finally:
            self._reading.release()

    def close(self) -> None:
        """Ends every blocked or later `next()` with StopIteration, and every blocked or later `add`
        with a RuntimeError.

        May be called twice, and from any thread.
        """
        self.closed.set()

    @abc.abstractmethod
    def _put(self, items: collections.deque[Trajectory], deadline: float) -> bool:
        """Moves items into the queue, from the left; False if `deadline` or `close` came before
        there was room for all.
        """

    @abc.abstractmethod
    def _get(self, count: int, deadline: float) -> list[Trajectory]:
        """Takes 0 to `count` items, waiting until `deadline` or `close` for at least one; may give
        up early.
        """

    def _new_streams(self) -> "_Streams":
        streams = _Streams(self)
        self._streams.append(streams)
        return streams

    def _timeout_error(self, what: str) -> TimeoutError:
        kind = (
            "an episode is complete with its boundary row"
            if self.episodes
            else "a segment with the row after it"
        )
        added = sum(streams.num_rows for streams in self._streams)
        return TimeoutError(
            f"{what} took longer than timeout={self.timeout:g} s: {len(self)} of at most "
            f"{self.capacity} items wait, "
            f"{len(self._taken)} were taken for a batch, {added} rows were added here ({kind}). "
            "Take items or add rows from another thread meanwhile, or, in one thread, make "
            "capacity hold all that is "
            "added before the next batch is taken"
        )


class _Streams:
    """The rows that one writer adds: n streams, whose completed items go into the queue."""

    def __init__(self, queue: ExperienceQueue):
        self._queue = queue
        self._shape: tuple[int, ...] | None = None
        self.assembler = Assembler(queue.spec, queue.num_rows, queue.episodes)
        self._waiting: collections.deque[Trajectory] = (
            collections.deque()
        )  # complete items, not in the queue yet

    @property
    def num_rows(self) -> int:
        return self.assembler.num_rows_added

    def add(self, row: Trajectory) -> None:
        shape = np.shape(row.step_type)
        leaves = self._queue.layout.leaves(row, shape[:1])
        if self._shape is None:
            self._shape = shape
        if shape != self._shape:
            raise ValueError(
                f"this writer takes rows of batch shape {self._shape}, as first given, got "
                f"{shape}; make another"
            )
        if self._queue.closed.is_set():
            raise RuntimeError("this queue is closed; build another one to go on")
        items, problem = self.assembler.add(
            leaves if shape else [np.asarray(x)[None] for x in leaves]
        )
        self._waiting += items
        self._send()
        if problem is not None:
            raise ValueError(problem)

    def bootstrap(self, time_step: TimeStep) -> None:
        if not np.ndim(time_step.step_type):
            time_step = jax.tree.map(lambda x: np.asarray(x)[None], time_step)
        self._waiting += self.assembler.bootstrap(time_step)
        self._send()

    def _send(self) -> None:
        queue = self._queue
        if not self._waiting or queue._put(self._waiting, time.monotonic() + queue.timeout):
            return
        if queue.closed.is_set():
            raise RuntimeError("this queue was closed while `add` waited for room")
        raise queue._timeout_error("adding a row to the full queue")


class _Dataset(Iterator[Trajectory]):
    """Batches of a queue's items; see `ExperienceQueue.as_dataset`."""

    def __init__(self, queue: ExperienceQueue, batch_size: int):
        self._queue, self._batch_size = queue, batch_size

    def __next__(self) -> Trajectory:
        items = self._queue.take(self._batch_size)
        stack = lambda *leaves: np.stack(leaves)
        batch: Tree = jax.tree.map(stack, *items)
        return batch
