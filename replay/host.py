"""The in-process replay buffer: a NumPy ring of packed rows, uniform or prioritised, seeded, safe to use from threads."""

import threading
from collections import deque
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ..envs.types import Array, Sample, SampleInfo, Trajectory, Tree
from . import host_files
from .packing import RowLayout
from .replay import Observer, check_config, check_dataset, check_priorities
from .sum_tree import SumTree

NO_NEXT = np.int32(-(2**31))  # the link of the newest row of a stream
_MOST_SAMPLED = np.iinfo(np.uint16).max


class HostReplay:
    """Keeps the newest `capacity` rows in this process and samples windows of them. A run is a function of its seed.

    Args:
      spec: the specs of one row, `agent.collect_data_spec`.
      capacity: rows kept, of all streams together; memory is taken as rows come, 1.2x the rows' bytes for CartPole's
        36-byte rows (7 bytes a row beside them, 24 when prioritised).
      sequence_length: rows T in a window; None is refused, so that an agent without a length of its own gets one.
      stride: a window begins every so many rows of a stream.
      priority_exponent: None samples uniformly; a number alpha samples in proportion to priority^alpha (Schaul et al.
        2016, "Prioritized experience replay", eq. 1). A new window gets the highest priority that was set so far, at least 1.
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
        self.sequence_length, self.stride, self.priority_exponent = int(sequence_length), int(stride), priority_exponent
        self.min_size, self.timeout = int(min_size), float(timeout)
        self._capacity = int(capacity)
        self._layout = RowLayout(spec)
        self._rng = np.random.default_rng(seed)
        self._changed = threading.Condition(threading.Lock())
        self._waiting, self._closed = 0, False
        self._streams: list[_Stream] = []
        self._saved_streams: deque[dict[str, Any]] = deque()  # states from a file, for writers that are yet to be made
        self._own: _Stream | None = None
        self._allocate(first_row=0)

    def _allocate(self, first_row: int) -> None:
        """An empty ring. Row number r since the buffer was made lies in slot r % capacity; r // capacity is its generation."""
        self._columns = self._layout.allocate(self._capacity)
        self._views = self._layout.views(self._columns)
        # The slot of the next row of the same stream where a window starts, and ~slot (negative) where none does.
        self._links = np.zeros(self._capacity, np.int32)
        self._times_sampled = np.zeros(self._capacity, np.uint16)
        self._base, self._total, self._items = first_row, first_row, 0
        self._tree = None if self.priority_exponent is None else SumTree(self._capacity)
        self._priorities = None if self.priority_exponent is None else np.zeros(self._capacity)
        self._max_priority = 1.0
        self._source: _Stream | None = None  # the stream that wrote all rows, which then are `num` slots apart
        self._regular = True

    # -- writing

    def writer(self) -> Observer:
        """An observer for one more stream of single rows; use each from one thread at a time."""
        return _Stream(self, None).add

    def add(self, row: Trajectory) -> None:
        """Adds a row, or one row from each of n environments (leaves `[n, ...]`, n streams; n is fixed by the first call).

        Raises:
          SpecError: the row does not meet the spec; nothing is added.
          ValueError: another n than before, or n windows do not fit.
          RuntimeError: the buffer is closed.
        """
        if self._own is None:
            shape = np.shape(row.step_type)
            self._layout.leaves(row, shape[:1])
            self._own = _Stream(self, shape[0] if shape else None)
        self._own.add(row)

    def _write_one(self, stream: "_Stream", leaves: list[Array], step_type: int, next_step_type: int) -> None:
        with self._changed:
            number, slot = self._claim(stream, 1)
            links = self._links
            if number - self._capacity >= self._base and links[slot] >= 0:
                self._remove(slot, 1)
            for view, leaf in zip(self._views, leaves, strict=True):
                view[slot] = leaf
            links[slot] = NO_NEXT
            oldest = max(self._base, self._total - self._capacity)
            if stream.last != step_type:
                stream.count = 0
            elif stream.count and stream.numbers[-1] >= oldest:
                previous = stream.numbers[-1] % self._capacity
                links[previous] = slot if links[previous] >= 0 else ~slot
            stream.last = next_step_type
            stream.count += 1
            stream.numbers.append(number)
            beyond = stream.count - self.sequence_length
            if beyond >= 0 and beyond % self.stride == 0 and stream.numbers[0] >= oldest:
                self._insert(stream.numbers[0] % self._capacity, 1)

    def _write_batch(self, stream: "_Stream", leaves: list[Array], step_type: Array, next_step_type: Array) -> None:
        with self._changed:
            number, _ = self._claim(stream, stream.num)
            ids = np.arange(stream.num)
            slots = (number + ids) % self._capacity
            gone = slots[(number + ids - self._capacity >= self._base) & (self._links[slots] >= 0)]
            if len(gone):
                self._remove(gone, len(gone))
            for view, leaf in zip(self._views, leaves, strict=True):
                view[slots] = leaf
            self._links[slots] = NO_NEXT
            oldest = max(self._base, self._total - self._capacity)
            counts = np.where(stream.last == step_type, stream.count, 0)
            if stream.numbers:
                linked = (counts > 0) & (stream.numbers[-1] + ids >= oldest)
                previous = (stream.numbers[-1] + ids[linked]) % self._capacity
                following = slots[linked].astype(np.int32)
                self._links[previous] = np.where(self._links[previous] >= 0, following, ~following)
            stream.last = np.array(next_step_type)
            stream.count = counts + 1
            stream.numbers.append(number)
            beyond = stream.count - self.sequence_length
            new = stream.numbers[0] + ids[(beyond >= 0) & (beyond % self.stride == 0)]
            new = new[new >= oldest] % self._capacity
            if len(new):
                self._insert(new, len(new))

    def _claim(self, stream: "_Stream", rows: int) -> tuple[int, int]:
        """Takes the numbers of the next rows; the first one's number and slot."""
        if self._closed:
            raise RuntimeError("this replay buffer is closed; build another one to go on")
        if stream is not self._source:
            self._regular = self._regular and self._source is None
            self._source = stream
        number = self._total
        self._total += rows
        return number, number % self._capacity

    def _insert(self, slots: Any, num: int) -> None:
        """Windows begin at `slots`, an int or an array without repeats."""
        self._links[slots] = ~self._links[slots]
        self._times_sampled[slots] = 0
        self._items += num
        if self._tree is not None:
            self._priorities[slots] = self._max_priority
            self._tree.set(slots, self._max_priority**self.priority_exponent)
        if self._waiting:
            self._changed.notify_all()

    def _remove(self, slots: Any, num: int) -> None:
        self._items -= num
        if self._tree is not None:
            self._tree.set(slots, 0.0)

    # -- reading

    def as_dataset(
        self, sample_batch_size: int | None = None, num_steps: int | None = None, *, prefetch: int = 2, device: Any = None
    ) -> "Dataset":
        """An endless iterator of samples `[B, T, ...]`, drawn with replacement inside `next()`; `[T, ...]` for None.

        On a CPU, batches are NumPy arrays: a jitted function takes them three times faster than after `device_put`, and
        `prefetch` does nothing. On an accelerator, or where `device` (a device or a sharding) is given, each `next()`
        draws a batch, begins its copy, and returns the one drawn `prefetch` calls earlier (the first call draws them
        all), so that the copy is over by then; 0 returns the batch just drawn. `info` stays in NumPy on the host.

        Raises:
          ValueError: `num_steps` is not the buffer's sequence length.
          TimeoutError: from `next()`, after `timeout` seconds with too little to sample; it may be called again.
        """
        check_dataset(sample_batch_size, num_steps, prefetch, self.sequence_length)
        if device is None and jax.default_backend() != "cpu":
            device = jax.local_devices()[0]
        return Dataset(self, sample_batch_size, prefetch, device)

    def can_sample(self, n: int = 1) -> bool:
        """True once at least n windows, and `min_size`, can be sampled."""
        return self._items >= max(n, self.min_size) and (self._tree is None or self._tree_total() > 0)

    def _tree_total(self) -> float:
        with self._changed:
            return self._tree.total

    def _sample(self, batch_size: int | None) -> Sample:
        with self._changed:
            if not self._ready():
                self._wait()
            num = batch_size or 1
            if self._tree is None:
                starts = self._draw_uniform(num)
                probability, priority = np.full(num, 1.0 / self._items), np.ones(num)
            else:
                starts = self._tree.sample(self._rng, num)
                probability, priority = self._tree[starts] / self._tree.total, self._priorities[starts]
            window = self._window(starts)
            columns = {name: column.take(window, axis=0) for name, column in self._columns.items()}
            times = self._count(starts)
            size = np.full(num, self._items, np.int64)
            lap, head = divmod(self._total, self._capacity)
        keys = (starts + (lap << 32) - ((starts >= head).astype(np.int64) << 32)).view(np.uint64)
        sample = Sample(self._layout.unpack(columns), SampleInfo(keys, probability, size, priority, times))
        return sample if batch_size else jax.tree.map(lambda x: x[0], sample)

    def _ready(self) -> bool:
        if self._closed:
            raise StopIteration
        return self._items >= self.min_size and (self._tree is None or self._tree.total > 0)

    def _wait(self) -> None:
        self._waiting += 1
        try:
            if not self._changed.wait_for(self._ready, self.timeout):
                raise TimeoutError(f"waited {self.timeout:g} s for something to sample: {self._describe()}")
        finally:
            self._waiting -= 1

    def _describe(self) -> str:
        rows, window = self._total - self._base, self.sequence_length
        text = f"{self._items} items of the {self.min_size} needed; {rows} {'row was' if rows == 1 else 'rows were'} added"
        text += (
            f" by {len(self._streams)} stream(s), {len(self)} of capacity {self._capacity} are kept; a window needs {window}"
        )
        if self._items >= self.min_size:
            return f"{text}. The priority of every item is 0; set one with update_priorities"
        return f"{text} consecutive rows of one stream. Add rows first, or from another thread meanwhile"

    def _draw_uniform(self, num: int) -> np.ndarray:
        """Slots (int64 `[num]`) where windows start, each with the same probability: drawn again until one does."""
        filled = len(self)
        if self._items * 64 < filled:  # too few to hit by chance
            return np.flatnonzero(self._links[:filled] >= 0)[self._rng.integers(self._items, size=num)]
        slots = (self._rng.random(num) * filled).astype(np.int64)
        while len(bad := np.flatnonzero(self._links[slots] < 0)):
            again = self._rng.integers(filled, size=8 + 2 * len(bad) * filled // self._items)
            again = again[self._links[again] >= 0][: len(bad)]
            slots[bad[: len(again)]] = again
        return slots

    def _window(self, starts: np.ndarray) -> np.ndarray:
        """The slots `[B, T]` of the rows of the windows that start at `starts` `[B]`."""
        if self._regular and self._source is not None:
            return (starts[:, None] + self._source.offsets) % self._capacity
        window = np.empty((len(starts), self.sequence_length), np.int64)
        window[:, 0] = starts
        for t in range(1, self.sequence_length):
            link = self._links[window[:, t - 1]]
            window[:, t] = link ^ (link >> 31)  # link, or ~link where it is negative
        return window

    def _count(self, starts: np.ndarray) -> np.ndarray:
        """Counts the draws and returns the counts (int32 `[B]`), which stop at 65,535."""
        if int(self._times_sampled[starts].max()) + len(starts) <= _MOST_SAMPLED:
            np.add.at(self._times_sampled, starts, np.uint16(1))
        else:
            slots, draws = np.unique(starts, return_counts=True)
            self._times_sampled[slots] = np.minimum(self._times_sampled[slots] + draws, _MOST_SAMPLED)
        return self._times_sampled[starts].astype(np.int32)

    def update_priorities(self, keys: Array, priorities: Array) -> None:
        """Sets the priorities `[n]` (>= 0) of the items `info.key` `[n]`; items that were overwritten are passed over.

        Raises:
          ValueError: NaN, infinite or negative priorities, other lengths, or a uniform buffer; nothing is changed.
          TypeError: the keys are not 64 bits wide.
        """
        keys, priorities = check_priorities(keys, priorities, self.priority_exponent)
        masses = np.where(priorities > 0, priorities**self.priority_exponent, 0.0)
        if (masses > 1e200).any():
            raise ValueError(f"priority^{self.priority_exponent} is too large for float64: {priorities.max()}")
        if not len(keys):
            return
        slots, laps = (keys & np.uint64(2**32 - 1)).astype(np.int64), (keys >> np.uint64(32)).astype(np.int64)
        numbers = laps * self._capacity + slots
        with self._changed:
            kept = (slots < self._capacity) & (numbers < self._total)
            kept &= numbers >= max(self._base, self._total - self._capacity)
            kept[kept] = self._links[slots[kept]] >= 0
            self._priorities[slots[kept]] = priorities[kept]
            self._tree.set(slots[kept], masses[kept])
            self._max_priority = max(self._max_priority, float(np.max(priorities[kept], initial=0.0)))
            self._changed.notify_all()

    # -- the whole

    @property
    def capacity(self) -> int:
        """The most rows that are kept."""
        return self._capacity

    def __len__(self) -> int:
        return min(self._total - self._base, self._capacity)

    def clear(self) -> None:
        """Drops all rows, open windows and priorities; keys from before stay stale. The random draws go on."""
        with self._changed:
            self._allocate(-(-self._total // self._capacity) * self._capacity)
            for stream in self._streams:
                stream.restart()

    def close(self) -> None:
        """Ends every blocked or later `next()` with StopIteration; may be called twice, and from any thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def save(self, path: str | Path) -> None:
        """Writes rows, priorities, counters, open windows and the random state to `path/replay.npz`.

        The file is replaced in one step, when it is whole and on the disk; nothing else in the folder is touched.

        Raises:
          OSError: it cannot be written (a full disk); what was saved before is unharmed.
        """
        with self._changed:
            host_files.save(self, Path(path))

    def load(self, path: str | Path) -> None:
        """Replaces the contents by what `save` wrote. This object's configuration holds, with a warning where it differs.

        With another capacity the newest rows are kept; with another sequence length or stride windows are laid anew over
        the rows; either drops open windows and makes earlier keys stale.

        Raises:
          FileNotFoundError: nothing was saved there.
          ValueError: the file is damaged, or its rows meet another spec; the buffer is unchanged.
        """
        saved = host_files.read(self, Path(path))
        with self._changed:
            host_files.restore(self, *saved)
            self._changed.notify_all()


class _Stream:
    """What must be known of one stream, or of n in step, to continue them: the open window and the expected step type."""

    def __init__(self, replay: HostReplay, num: int | None):
        if num is not None and num * replay.sequence_length > replay.capacity:
            need = f"{num} environments x sequence_length={replay.sequence_length}"
            raise ValueError(f"capacity={replay.capacity} rows cannot hold one window of each stream: {need}")
        self._replay, self.num = replay, num
        self._batch_shape = () if num is None else (num,)
        self.numbers: deque[int] = deque(maxlen=replay.sequence_length)  # of the rows (of stream 0) last added
        self.offsets = (num or 1) * np.arange(replay.sequence_length)
        self.restart()
        with replay._changed:
            replay._streams.append(self)
            if replay._saved_streams:
                self.set_state(replay._saved_streams.popleft())

    def restart(self) -> None:
        self.numbers.clear()
        self.count: Any = np.zeros(self._batch_shape, np.int64) if self.num else 0  # rows since the stream began
        self.last: Any = np.full(self._batch_shape, -1) if self.num else -1  # the next_step_type of the last row

    def state(self) -> dict[str, Any]:
        count, last = np.asarray(self.count).tolist(), np.asarray(self.last).tolist()
        return {"num": self.num, "numbers": list(self.numbers), "count": count, "last": last}

    def set_state(self, state: dict[str, Any]) -> None:
        if state["num"] == self.num:
            self.numbers.extend(state["numbers"])
            self.count, self.last = (np.array(state[k]) if self.num else state[k] for k in ("count", "last"))

    def add(self, row: Trajectory) -> None:
        """Adds a row, or a row of each stream `[num, ...]`."""
        if np.shape(row.step_type) != self._batch_shape:
            want = "single rows" if self.num is None else f"batches of {self.num} rows"
            raise ValueError(f"this writer takes {want}, as first given, but step_type has shape {np.shape(row.step_type)}")
        leaves = self._replay._layout.leaves(row, self._batch_shape)
        if self.num is None:
            self._replay._write_one(self, leaves, int(row.step_type), int(row.next_step_type))
        else:
            self._replay._write_batch(self, leaves, np.asarray(row.step_type), np.asarray(row.next_step_type))


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
