"""The base of the queues of on-policy experience, in this process or on a Reverb server."""

import abc
import collections
import threading
import time
from collections.abc import Iterator

import jax
import numpy as np

from ...envs.types import TimeStep, Trajectory, Tree
from ..checks import check_count, check_timeout
from ..packing import RowLayout
from ..replay import Observer
from .assembler import Assembler


class ExperienceQueue(abc.ABC):
    """Rows go in; segments or whole episodes come out, each once, in the order of their completion.

    An item is a `Trajectory` `[T + 1, ...]`, which agents' `prepare` takes in batches
    `[B, T + 1, ...]`.

    A segment has T = `num_rows` consecutive rows of one stream and the bootstrap row, which only
    has the step type and the observation of the row after them, with which the next segment begins.
    So a segment is complete when that row comes, or by `bootstrap`.

    An episode (`episodes=True`, T = `num_rows` + 1) has all its rows with its boundary row, which
    is repeated up to T + 1 rows (once at least, since row T is left out of statistics) and, as all
    boundary rows, weighs nothing. An episode is complete when its boundary row comes, as after
    `driver.run(num_episodes=...)`. Rows of a stream before its first FIRST row are left out.

    A row that does not continue its stream drops the rows of the open item; `num_dropped` counts
    such rows.

    Args:
      spec: Specs of one row, `agent.collect_data_spec`.
      num_rows: Number of rows of a segment, or of steps that an episode may have.
      episodes: True if items are whole episodes.
      capacity: Largest number of items that wait; adding a row that completes one more blocks until
        one is taken.
      timeout: Seconds after which a blocked call raises. Nothing is lost then: a row that was added
        is kept.

    Raises:
      ValueError: No queue could serve an argument.
    """

    def __init__(
        self, spec: Trajectory, num_rows: int, episodes: bool, capacity: int, timeout: float
    ):
        check_count("num_rows", num_rows)
        check_count("capacity", capacity)
        check_timeout(timeout)
        self.spec = spec
        self.num_rows = int(num_rows)
        self.episodes = episodes
        self.capacity = int(capacity)
        self.timeout = timeout
        self.layout = RowLayout(spec)
        self.closed = threading.Event()
        self._writers: list[_QueueWriter] = []
        self._own: _QueueWriter | None = None
        # Items that are out of the queue, and in no batch yet.
        self._taken: collections.deque[Trajectory] = collections.deque()
        self._reading = threading.Lock()

    @abc.abstractmethod
    def __len__(self) -> int:
        """Returns the number of items that wait."""

    @property
    def num_dropped(self) -> int:
        """The number of rows added here that no item will ever hold."""
        return sum(writer.assembler.num_dropped for writer in self._writers)

    def add(self, row: Trajectory) -> None:
        """Adds a row, or one row from each of n environments (leaves `[n, ...]`, n streams).

        Raises:
          SpecError: The row does not meet the spec; nothing is added.
          ValueError: The number of environments is not that of the first call, an episode has more
            than `num_rows` steps, or the boundary rows between episodes are missing.
          TimeoutError: The queue stayed full; the row is kept, and its item goes in first later.
          RuntimeError: The queue is closed.
        """
        if self._own is None:
            self._own = self._new_writer()
        self._own.add(row)

    def writer(self) -> Observer:
        """Returns an observer for more streams, of rows or of batches of n rows.

        Use each observer from one thread at a time.
        """
        return self._new_writer().add

    def bootstrap(self, time_step: TimeStep) -> None:
        """Completes the segments of the queue's own streams that only lack their bootstrap row.

        So what was collected can be learned from before the next row is made.

        Args:
          time_step: Time step where the driver stopped.
        """
        if self._own is not None:
            self._own.bootstrap(time_step)

    def as_dataset(self, sample_batch_size: int) -> Iterator[Trajectory]:
        """Returns an endless iterator of batches `[B, T + 1, ...]` in NumPy.

        Threads may share datasets; each item goes to one. `next` raises a TimeoutError if no batch
        could be filled for `timeout` seconds (items that were taken are in the next one), and
        StopIteration once the queue is closed.

        Raises:
          ValueError: The batch size is less than 1.
        """
        if sample_batch_size < 1:
            raise ValueError(f"sample_batch_size must be at least 1, got {sample_batch_size}")
        return _Dataset(self, sample_batch_size)

    def take(self, count: int) -> list[Trajectory]:
        """Returns the next `count` items `[T + 1, ...]`; raises as `next` of `as_dataset` does."""
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
        """Ends each blocked or later `next()`, and `add`, which raises a RuntimeError.

        It may be called twice, and from any thread.
        """
        self.closed.set()

    @abc.abstractmethod
    def _put(self, items: collections.deque[Trajectory], deadline: float) -> bool:
        """Moves items into the queue, from the left.

        Returns False if `deadline` or `close` came before there was room for all.
        """

    @abc.abstractmethod
    def _get(self, count: int, deadline: float) -> list[Trajectory]:
        """Takes 0 to `count` items.

        It waits until `deadline` or `close` for one, or gives up earlier.
        """

    def _new_writer(self) -> "_QueueWriter":
        writer = _QueueWriter(self)
        self._writers.append(writer)
        return writer

    def send(self, items: collections.deque[Trajectory]) -> None:
        """Moves complete items into the queue, from the left.

        Raises:
          TimeoutError: The queue stayed full.
          RuntimeError: The queue was closed meanwhile.
        """
        if not items or self._put(items, time.monotonic() + self.timeout):
            return
        if self.closed.is_set():
            raise RuntimeError("this queue was closed while `add` waited for room")
        raise self._timeout_error("adding a row to the full queue")

    def _timeout_error(self, action: str) -> TimeoutError:
        kind = (
            "an episode is complete with its boundary row"
            if self.episodes
            else "a segment with the row after it"
        )
        added = sum(writer.assembler.num_rows_added for writer in self._writers)
        return TimeoutError(
            f"{action} took longer than timeout={self.timeout:g} s: {len(self)} of at most "
            f"{self.capacity} items wait, {len(self._taken)} were taken for a batch, {added} rows "
            f"were added here ({kind}). Take items or add rows from another thread meanwhile, or, "
            "in one thread, make capacity hold all that is added before the next batch is taken"
        )


class _QueueWriter:
    """The rows that one writer adds: n streams, whose complete items go into the queue."""

    def __init__(self, queue: ExperienceQueue):
        self._queue = queue
        self._shape: tuple[int, ...] | None = None
        self.assembler = Assembler(queue.spec, queue.num_rows, queue.episodes)
        # Complete items that are not in the queue yet.
        self._waiting: collections.deque[Trajectory] = collections.deque()

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
        self._queue.send(self._waiting)
        if problem is not None:
            raise ValueError(problem)

    def bootstrap(self, time_step: TimeStep) -> None:
        if not np.ndim(time_step.step_type):
            time_step = jax.tree.map(lambda x: np.asarray(x)[None], time_step)
        self._waiting += self.assembler.bootstrap(time_step)
        self._queue.send(self._waiting)


class _Dataset(Iterator[Trajectory]):
    """The iterator that `ExperienceQueue.as_dataset` returns."""

    def __init__(self, queue: ExperienceQueue, batch_size: int):
        self._queue = queue
        self._batch_size = batch_size

    def __next__(self) -> Trajectory:
        items = self._queue.take(self._batch_size)
        batch: Tree = jax.tree.map(lambda *leaves: np.stack(leaves), *items)
        return batch
