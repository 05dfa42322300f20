"""The in-process replay buffer: a NumPy ring of packed rows, uniform or prioritised, seeded, safe
to use from threads.
"""

import threading
from collections import deque
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ...envs.types import Array, Sample, Trajectory, Tree
from ..packing import RowLayout
from ..replay import Observer, check_config, check_dataset, check_priorities
from . import files as host_files
from .ring import Ring, Stream


class HostReplay:
    """Keeps the newest `capacity` rows in this process and samples windows of them. A run is a
    function of its seed.

    Args:
      spec: the specs of one row, `agent.collect_data_spec`.
      capacity: rows kept, of all streams together; memory is taken as rows come, and is 6 bytes a
        row (23 when prioritised) beside the row itself: 1.17 times the bytes of CartPole's 36-byte
        rows.
      sequence_length: rows T in a window; None is refused, so that an agent without a length of its
        own gets one.
      stride: a window begins every so many rows of a stream.
      priority_exponent: None samples uniformly; a number alpha samples in proportion to
        priority^alpha (Schaul et al. 2016, "Prioritized experience replay", eq. 1). A new window
        gets the highest priority that was set so far, at least 1.
      min_size: windows needed before the first sample is given.
      timeout: seconds that `next()` waits for another thread to add what it needs.
      seed: of the draws.

    Raises:
      ValueError: an argument that no buffer can serve.
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
        check_config(
            capacity=capacity,
            sequence_length=sequence_length,
            stride=stride,
            priority_exponent=priority_exponent,
            min_size=min_size,
            timeout=timeout,
        )
        self.sequence_length, self.stride, self.priority_exponent = (
            int(sequence_length),
            int(stride),
            priority_exponent,
        )
        self.min_size, self.timeout = int(min_size), float(timeout)
        self._capacity = int(capacity)
        self._layout = RowLayout(spec)
        self._rng = np.random.default_rng(seed)
        self._changed = threading.Condition(threading.Lock())
        self._waiting, self._closed = 0, False
        self._own: list[Stream] = []  # the stream that `add` writes to, once its first row has come
        self._writers: list[Stream] = []
        self._saved_own: list[
            dict[str, Any]
        ] = []  # states from a file, for the streams that are yet to be made
        self._saved_writers: list[dict[str, Any]] = []
        self._ring = Ring(
            self._layout, self._capacity, self.sequence_length, self.stride, priority_exponent
        )

    # -- writing

    def writer(self, num_envs: int | None = None) -> Observer:
        """An observer for one more stream of single rows, or for n more of rows `[n, ...]` from
        `num_envs` environments.
        """
        stream = self._open_stream(num_envs, self._writers, self._saved_writers)
        return lambda row: self._write(stream, row)

    def flush(self) -> None:
        """Nothing: rows can be sampled as soon as they were added."""

    def add(self, row: Trajectory) -> None:
        """Adds a row, or one row from each of n environments (leaves `[n, ...]`, n streams; n is
        fixed by the first call).

        Raises:
          SpecError: the row does not meet the spec; nothing is added.
          ValueError: another n than before, or n windows do not fit.
          RuntimeError: the buffer is closed.
        """
        if not self._own:
            shape = np.shape(row.step_type)
            self._layout.leaves(row, shape[:1])
            self._open_stream(shape[0] if shape else None, self._own, self._saved_own)
        self._write(self._own[0], row)

    def _open_stream(
        self, num: int | None, streams: list[Stream], saved: list[dict[str, Any]]
    ) -> Stream:
        if num is not None and num * self.sequence_length > self._capacity:
            need = f"{num} environments x sequence_length={self.sequence_length}"
            raise ValueError(
                f"capacity={self._capacity} rows cannot hold one window of each stream: {need}"
            )
        stream = Stream(num, self.sequence_length)
        with self._changed:
            streams.append(stream)
            if saved:
                stream.set_state(saved.pop(0))
        return stream

    def _write(self, stream: Stream, row: Trajectory) -> None:
        shape = () if stream.num is None else (stream.num,)
        if np.shape(row.step_type) != shape:
            want = "single rows" if stream.num is None else f"batches of {stream.num} rows"
            raise ValueError(
                f"this writer takes {want}, as first given, but step_type has shape "
                f"{np.shape(row.step_type)}"
            )
        leaves = self._layout.leaves(row, shape)
        with self._changed:
            if self._closed:
                raise RuntimeError("this replay buffer is closed; build another one to go on")
            if stream.num is None:
                self._ring.write(stream, leaves, int(row.step_type), int(row.next_step_type))
            else:
                self._ring.write_batch(
                    stream, leaves, np.asarray(row.step_type), np.asarray(row.next_step_type)
                )
            if self._waiting:
                self._changed.notify_all()

    # -- reading

    def as_dataset(
        self,
        sample_batch_size: int | None = None,
        num_steps: int | None = None,
        *,
        prefetch: int = 2,
        device: Any = None,
    ) -> "Dataset":
        """An endless iterator of samples `[B, T, ...]`, drawn with replacement inside `next()`;
        `[T, ...]` for None.

        On a CPU, batches are NumPy arrays: a jitted function takes them three times faster than
        after `device_put`, and `prefetch` does nothing. On an accelerator, or where `device` (a
        device or a sharding) is given, each `next()` draws a batch, begins its copy, and returns
        the one drawn `prefetch` calls earlier (the first call draws them all), so that the copy is
        over by then; 0 returns the batch just drawn. `info` stays in NumPy on the host.

        Raises:
          ValueError: `num_steps` is not the buffer's sequence length.
          TimeoutError: from `next()`, after `timeout` seconds with too little to sample; it may be
            called again.
        """
        check_dataset(sample_batch_size, num_steps, prefetch, self.sequence_length)
        if device is None and jax.default_backend() != "cpu":
            device = jax.local_devices()[0]
        return Dataset(self, sample_batch_size, prefetch, device)

    def can_sample(self, n: int = 1) -> bool:
        """True once at least n windows, and `min_size`, can be sampled."""
        with self._changed:
            return self._ring.items >= max(n, self.min_size) and self._ring.can_draw()

    def _sample(self, batch_size: int | None) -> Sample:
        with self._changed:
            if not self._ready():
                self._wait()
            columns, info = self._ring.sample(self._rng, batch_size or 1)
        sample = Sample(self._layout.unpack(columns), info)
        return sample if batch_size else jax.tree.map(lambda x: x[0], sample)

    def _ready(self) -> bool:
        if self._closed:
            raise StopIteration
        return self._ring.items >= self.min_size and self._ring.can_draw()

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
        rows, window = self._ring.total - self._ring.base, self.sequence_length
        writers = len(self._own) + len(self._writers)
        text = f"{self._ring.items} items of the {self.min_size} needed; {rows} {'row was' if rows == 1 else 'rows were'} added"
        text += f" by {writers} writer(s), {len(self)} of capacity {self._capacity} are kept; a window needs {window}"
        if self._ring.items >= self.min_size:
            return f"{text}. The priority of every item is 0; set one with update_priorities"
        return f"{text} consecutive rows of one stream. Add rows first, or from another thread meanwhile"

    def update_priorities(self, keys: Array, priorities: Array) -> None:
        """Sets the priorities `[n]` (>= 0) of the items `info.key` `[n]`; items that were
        overwritten are passed over.

        Raises:
          ValueError: NaN, infinite or negative priorities, other lengths, or a uniform buffer;
            nothing is changed.
          TypeError: the keys are not 64 bits wide.
        """
        keys, priorities = check_priorities(keys, priorities, self.priority_exponent)
        if len(keys):
            with self._changed:
                self._ring.update_priorities(keys, priorities)
                self._changed.notify_all()

    # -- the whole

    @property
    def capacity(self) -> int:
        """The most rows that are kept."""
        return self._capacity

    def __len__(self) -> int:
        return len(self._ring)

    def clear(self) -> None:
        """Drops all rows, open windows and priorities; keys from before stay stale. The random
        draws go on.
        """
        with self._changed:
            self._ring.clear()
            for stream in (*self._own, *self._writers):
                stream.restart()

    def close(self) -> None:
        """Ends every blocked or later `next()` with StopIteration; may be called twice, and from
        any thread.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def save(self, path: str | Path) -> None:
        """Writes rows, priorities, counters, open windows and the random state to
        `path/replay.npz`.

        The file is replaced in one step, when it is whole and on the disk; nothing else in the
        folder is touched.

        Raises:
          OSError: it cannot be written (a full disk); what was saved before is unharmed.
        """
        with self._changed:
            host_files.save(self, Path(path))

    def load(self, path: str | Path) -> None:
        """Replaces the contents by what `save` wrote. This object's configuration holds, with a
        warning where it differs.

        With another capacity the newest rows are kept; with another sequence length or stride
        windows are laid anew over the rows; either drops open windows and makes earlier keys stale.

        Raises:
          FileNotFoundError: nothing was saved there.
          ValueError: the file is damaged, or its rows meet another spec; the buffer is unchanged.
        """
        saved = host_files.read(self, Path(path))
        with self._changed:
            host_files.restore(self, *saved)
            self._changed.notify_all()


class Dataset:
    """The iterator of `HostReplay.as_dataset`."""

    def __init__(self, replay: HostReplay, batch_size: int | None, prefetch: int, device: Any):
        self._replay, self._batch_size, self._device = replay, batch_size, device
        self._ahead: deque[Sample] = deque()
        self._depth = 0 if device is None else prefetch

    def __iter__(self) -> "Dataset":
        return self

    def __next__(self) -> Sample:
        if self._device is None:
            return self._replay._sample(self._batch_size)
        while len(self._ahead) <= self._depth:
            experience, info = self._replay._sample(self._batch_size)
            self._ahead.append(Sample(jax.device_put(experience, self._device), info))
        return self._ahead.popleft()
