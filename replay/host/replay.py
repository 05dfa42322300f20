"""The replay buffer in this process: a NumPy ring of packed rows, uniform or prioritised.

It is seeded, and safe to use from threads.
"""

import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ...envs.types import Array, Sample, Trajectory, Tree
from ..buffer import BufferSettings, WindowBuffer
from ..checks import check_priorities
from ..prefetch import DeviceCopies
from ..replay import Observer
from . import files
from .ring import Ring
from .streams import RingStream, StreamList


class HostReplay(WindowBuffer):
    """Keeps the newest `capacity` rows in this process, and samples windows of them.

    A run is a function of its seed.

    Args:
      spec: Specs of one row, `agent.collect_data_spec`.
      capacity: Number of rows that are kept, of all streams together. Memory is taken as rows come:
        6 bytes a row (23 when prioritised) beside the row itself, 1.17 times the bytes of
        CartPole's 36-byte rows.
      sequence_length: Number of rows T in a window. None is refused, with a hint for agents that
        have no length.
      stride: Number of rows of a stream between the beginnings of two windows.
      priority_exponent: None samples uniformly; a number alpha samples in proportion to
        priority^alpha (Schaul et al. 2016, "Prioritized experience replay", eq. 1). A new window
        gets the highest priority that was set so far, at least 1.
      min_size: Number of windows that are needed before the first sample is given.
      timeout: Seconds that `next()` waits for another thread to add what it needs.
      seed: Seed of the draws.

    Raises:
      ValueError: No buffer could serve an argument.
    """

    def __init__(
        self,
        spec: Tree,
        *,
        capacity: int,
        sequence_length: int = 2,
        stride: int = 1,
        priority_exponent: float | None = None,
        min_size: int = 1,
        timeout: float = 30.0,
        seed: int = 0,
    ):
        super().__init__(
            spec,
            BufferSettings(capacity, sequence_length, stride, priority_exponent, min_size, timeout),
        )
        self._rng = np.random.default_rng(seed)
        self._changed = threading.Condition(threading.Lock())
        self._waiting = 0
        self._closed = False
        self._own = StreamList()  # the stream that `add` writes to, once its first row has come
        self._writers = StreamList()
        self._ring = Ring(
            self.layout, self.capacity, self.sequence_length, self.stride, priority_exponent
        )

    # -- writing

    def writer(self, num_envs: int | None = None) -> Observer:
        """Returns an observer for one more stream of single rows, or for n more of rows `[n, ...]`.

        Args:
          num_envs: Number of environments n whose rows come in batches; None takes single rows.
        """
        return partial(self._write, self._open_stream(num_envs, self._writers))

    def add(self, row: Trajectory) -> None:
        """Adds a row, or one row from each of n environments (leaves `[n, ...]`, n streams).

        Raises:
          SpecError: The row does not meet the spec; nothing is added.
          ValueError: The number of environments is not that of the first call, n windows do not
            fit, or the boundary rows between episodes are missing.
          RuntimeError: The buffer is closed.
        """
        if not self._own.streams:
            shape = np.shape(row.step_type)
            self.layout.leaves(row, shape[:1])
            self._open_stream(shape[0] if shape else None, self._own)
        self._write(self._own.streams[0], row)

    def flush(self) -> None:
        """Does nothing: rows can be sampled as soon as they were added."""

    def _open_stream(self, num: int | None, streams: StreamList) -> RingStream:
        if num is not None and num * self.sequence_length > self.capacity:
            raise ValueError(
                f"capacity={self.capacity} rows cannot hold one window of each stream: {num} "
                f"environments x sequence_length={self.sequence_length}"
            )
        stream = RingStream(num, self.sequence_length)
        with self._changed:
            streams.open(stream)
        return stream

    def _write(self, stream: RingStream, row: Trajectory) -> None:
        shape = () if stream.num is None else (stream.num,)
        if np.shape(row.step_type) != shape:
            want = "single rows" if stream.num is None else f"batches of {stream.num} rows"
            raise ValueError(
                f"this writer takes {want}, as first given, but step_type has shape "
                f"{np.shape(row.step_type)}"
            )
        leaves = self.layout.leaves(row, shape)
        with self._changed:
            if self._closed:
                raise RuntimeError("this replay buffer is closed; build another one to go on")
            if stream.num is None:
                types = int(row.step_type), int(row.next_step_type)
                stream.boundaries.check(*types)
                self._ring.write(stream, leaves, *types)
            else:
                arrays = np.asarray(row.step_type), np.asarray(row.next_step_type)
                stream.boundaries.check_batch(*arrays)
                self._ring.write_batch(stream, leaves, *arrays)
            if self._waiting:
                self._changed.notify_all()

    # -- reading

    def can_sample(self, n: int = 1) -> bool:
        """Returns True once at least n windows, and `min_size`, can be sampled."""
        with self._changed:
            return self._has_items(n)

    def update_priorities(self, keys: Array, priorities: Array) -> None:
        """Sets the priorities `[n]` (>= 0) of the items `info.key` `[n]`; ignores overwritten ones.

        Raises:
          ValueError: A priority is NaN, infinite or negative, the lengths differ, or the buffer is
            uniform; nothing is changed.
          TypeError: The keys are not 64 bits wide.
        """
        keys, priorities = check_priorities(keys, priorities, self.priority_exponent)
        if len(keys):
            with self._changed:
                self._ring.update_priorities(keys, priorities)
                self._changed.notify_all()

    def _dataset(self, batch_size: int | None, prefetch: int, device: Any) -> "HostDataset":
        return HostDataset(self, partial(self._sample, batch_size), DeviceCopies(device, prefetch))

    def _sample(self, batch_size: int | None) -> Sample:
        with self._changed:
            if not self._ready():
                self._wait()
            columns, info = self._ring.sample(self._rng, batch_size or 1)
        sample = Sample(self.layout.unpack(columns), info)
        return sample if batch_size else jax.tree.map(lambda x: x[0], sample)

    def _has_items(self, n: int) -> bool:
        return self._ring.items >= max(n, self.min_size) and self._ring.can_draw()

    def _ready(self) -> bool:
        if self._closed:
            raise StopIteration
        return self._has_items(1)

    def _wait(self) -> None:
        self._waiting += 1
        try:
            if not self._changed.wait_for(self._ready, self.timeout):
                raise TimeoutError(
                    f"waited {self.timeout:g} s for something to sample: {self._describe()}"
                )
        finally:
            self._waiting -= 1

    def _describe(self) -> str:
        rows = self._ring.total - self._ring.base
        text = (
            f"{self._ring.items} items of the {self.min_size} needed; {rows} "
            f"{'row was' if rows == 1 else 'rows were'} added by "
            f"{len(self._own.streams) + len(self._writers.streams)} writer(s), {len(self)} of "
            f"capacity {self.capacity} are kept; a window needs {self.sequence_length} consecutive "
            "rows of one stream. "
        )
        if self._ring.items >= self.min_size:
            return f"{text}The priority of every item is 0; set one with update_priorities"
        return f"{text}Add rows first, or from another thread meanwhile"

    # -- the whole

    def __len__(self) -> int:
        return len(self._ring)

    def clear(self) -> None:
        """Drops all rows, open windows and priorities; keys from before stay stale.

        The random draws go on.
        """
        with self._changed:
            self.generation += 1
            self._ring.clear()
            self._own.restart()
            self._writers.restart()

    def close(self) -> None:
        """Ends each blocked or later `next()`; any thread may call it, also twice."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def save(self, path: str | Path) -> None:
        """Writes rows, priorities, counters, open windows and the random state to a file.

        The file `path/replay.npz` is replaced in one step, when it is whole and on the disk;
        nothing else in the folder is touched.

        Raises:
          OSError: The file cannot be written (a full disk); an earlier one is unharmed.
        """
        with self._changed:
            state = {
                "rng": self._rng.bit_generator.state,
                "own": self._own.state(),
                "writers": self._writers.state(),
            }
            files.save(Path(path), self._ring, state)

    def load(self, path: str | Path) -> None:
        """Replaces the contents by those that `save` wrote.

        This object's configuration holds, with a warning where it differs. With another capacity
        the newest rows are kept; with another sequence length or stride windows are laid over the
        rows again; either drops open windows and makes earlier keys stale.

        Raises:
          FileNotFoundError: Nothing was saved there.
          ValueError: The file is damaged, or its rows meet another spec; the buffer is unchanged.
        """
        saved = files.read(Path(path), self.layout.describe())
        with self._changed:
            self.generation += 1
            as_saved = files.restore(saved, self._ring)
            self._rng.bit_generator.state = saved.meta["rng"]
            self._own.set_state(saved.meta["own"] if as_saved else [])
            self._writers.set_state(saved.meta["writers"] if as_saved else [])
            self._changed.notify_all()


class HostDataset(Iterator[Sample]):
    """The iterator that `HostReplay.as_dataset` returns.

    Args:
      replay: Buffer that is read.
      draw: Function that draws a batch.
      copies: Copies of batches to a device.
    """

    def __init__(self, replay: HostReplay, draw: Callable[[], Sample], copies: DeviceCopies):
        self._replay = replay
        self._draw = draw
        self._copies = copies
        self._generation = replay.generation

    def __next__(self) -> Sample:
        if self._generation != self._replay.generation:  # what was copied ahead is gone
            self._copies.clear()
            self._generation = self._replay.generation
        return self._copies.next(self._draw)
