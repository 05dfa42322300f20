"""The storage of `HostReplay`: a ring of packed rows, and the windows of them that can be sampled.

Not safe for threads.
"""

from typing import Any

import numpy as np

from ...envs.types import Array, SampleInfo
from ..packing import RowLayout
from ..streams import following, following_one
from .streams import RingStream
from .sum_tree import SumTree

NO_NEXT = np.int32(-(2**31))  # the link of the newest row of a stream
_MOST_SAMPLED = np.iinfo(np.uint16).max


class Ring:
    """Rows of all streams in the order in which they came.

    Row number r lies in slot r % capacity, in generation r // capacity. A row takes six bytes
    beside its own, 23 when prioritised; memory is taken as rows come.

    Args:
      layout: Layout of packed rows.
      capacity: Largest number of rows that are kept.
      sequence_length: Number of rows in a window.
      stride: Number of rows between the beginnings of two windows of a stream.
      priority_exponent: Power of the priority to which a window's probability is proportional; None
        draws uniformly.
    """

    def __init__(
        self,
        layout: RowLayout,
        capacity: int,
        sequence_length: int,
        stride: int,
        priority_exponent: float | None,
    ):
        self.layout = layout
        self.capacity = capacity
        self.sequence_length = sequence_length
        self.stride = stride
        self.priority_exponent = priority_exponent
        self._exponent = priority_exponent or 0.0
        self.reset(0)

    def reset(self, first_row: int) -> None:
        """Drops all rows; the next one has the number `first_row`, a multiple of the capacity."""
        self.columns = self.layout.allocate(self.capacity)
        self._views = self.layout.views(self.columns)
        # The slot of the next row of the same stream where a window starts, and ~slot (negative)
        # where none does.
        self.links = np.zeros(self.capacity, np.int32)
        self.times_sampled = np.zeros(self.capacity, np.uint16)
        self.base = first_row
        self.total = first_row
        self.items = 0
        self.tree = None if self.priority_exponent is None else SumTree(self.capacity)
        self.priorities = np.zeros(0 if self.tree is None else self.capacity)
        self.max_priority = 1.0
        # The stream that wrote all rows, which then are evenly spaced (regular).
        self._source: RingStream | None = None
        self.regular = True

    def clear(self) -> None:
        """Drops all rows; earlier keys stay stale."""
        self.reset(-(-self.total // self.capacity) * self.capacity)

    def __len__(self) -> int:
        return min(self.total - self.base, self.capacity)

    @property
    def oldest(self) -> int:
        """The number of the oldest row that is kept."""
        return max(self.base, self.total - self.capacity)

    # -- writing

    def write(
        self, stream: RingStream, leaves: list[Array], step_type: int, next_step_type: int
    ) -> None:
        """Adds a row of a single stream, already checked."""
        number = self._claim(stream, 1)
        links = self.links
        slot = number % self.capacity
        if number - self.capacity >= self.base and links[slot] >= 0:
            self._remove(slot, 1)
        for view, leaf in zip(self._views, leaves, strict=True):
            view[slot] = leaf
        links[slot] = NO_NEXT
        oldest = self.oldest
        if stream.last != step_type:
            stream.count = 0
        elif stream.count and stream.numbers[-1] >= oldest:
            previous = stream.numbers[-1] % self.capacity
            links[previous] = slot if links[previous] >= 0 else ~slot
        stream.last = following_one(step_type, next_step_type)
        stream.count += 1
        stream.numbers.append(number)
        beyond = stream.count - self.sequence_length
        if beyond >= 0 and beyond % self.stride == 0 and stream.numbers[0] >= oldest:
            self._insert(stream.numbers[0] % self.capacity, 1)

    def write_batch(
        self, stream: RingStream, leaves: list[Array], step_type: Array, next_step_type: Array
    ) -> None:
        """Adds a row `[n, ...]` of each of n streams in step, already checked."""
        numbers = self._claim(stream, len(stream.ids)) + stream.ids
        slots = numbers % self.capacity
        gone = slots[(numbers - self.capacity >= self.base) & (self.links[slots] >= 0)]
        if len(gone):
            self._remove(gone, len(gone))
        for view, leaf in zip(self._views, leaves, strict=True):
            view[slots] = leaf
        self.links[slots] = NO_NEXT
        oldest = self.oldest
        counts = np.where(stream.last == step_type, stream.count, 0)
        if stream.numbers:
            before = stream.numbers[-1] + stream.ids
            linked = (counts > 0) & (before >= oldest)
            previous = before[linked] % self.capacity
            new = slots[linked].astype(np.int32)
            self.links[previous] = np.where(self.links[previous] >= 0, new, ~new)
        stream.last = following(step_type, next_step_type)
        stream.count = counts + 1
        stream.numbers.append(int(numbers[0]))
        beyond = stream.count - self.sequence_length
        new = stream.numbers[0] + stream.ids[(beyond >= 0) & (beyond % self.stride == 0)]
        new = new[new >= oldest] % self.capacity
        if len(new):
            self._insert(new, len(new))

    def _claim(self, stream: RingStream, rows: int) -> int:
        """Takes the numbers of the next rows, and returns the first of them."""
        if stream is not self._source:
            self.regular = self.regular and self._source is None
            self._source = stream
        self.total += rows
        return self.total - rows

    def _insert(self, slots: Any, num: int) -> None:
        """Lets windows begin at `slots`, an int or an array without repeats."""
        self.links[slots] = ~self.links[slots]
        self.times_sampled[slots] = 0
        self.items += num
        if self.tree is not None:
            self.priorities[slots] = self.max_priority
            self.tree.set(slots, self.max_priority**self._exponent)

    def _remove(self, slots: Any, num: int) -> None:
        self.items -= num
        if self.tree is not None:
            self.tree.set(slots, 0.0)

    # -- reading

    def can_draw(self) -> bool:
        """Returns True where there is a window whose priority is above 0."""
        return self.items > 0 and (self.tree is None or self.tree.total > 0)

    def sample(
        self, rng: np.random.Generator, num: int
    ) -> tuple[dict[str, np.ndarray], SampleInfo]:
        """Draws windows with replacement.

        Returns:
          Copies of the windows' columns `[num, T, ...]`, and their info `[num]`.
        """
        if self.tree is None:
            starts = self._draw_uniform(rng, num)
            probability = np.full(num, 1.0 / self.items)
            priority = np.ones(num)
        else:
            starts = self.tree.sample(rng, num)
            probability = self.tree[starts] / self.tree.total
            priority = self.priorities[starts]
        window = self._window(starts)
        columns = {name: column.take(window, axis=0) for name, column in self.columns.items()}
        lap, head = divmod(self.total, self.capacity)
        generation = lap - (starts >= head).astype(np.int64)
        keys = (starts + (generation << 32)).view(np.uint64)
        size = np.full(num, self.items, np.int64)
        return columns, SampleInfo(keys, probability, size, priority, self._count(starts))

    def _draw_uniform(self, rng: np.random.Generator, num: int) -> np.ndarray:
        """Draws slots (int64 `[num]`) where windows start, each with the same probability.

        Slots where none starts are drawn again.
        """
        filled = len(self)
        if self.items * 64 < filled:  # too few to hit by chance
            return np.flatnonzero(self.links[:filled] >= 0)[rng.integers(self.items, size=num)]
        slots = (rng.random(num) * filled).astype(np.int64)
        while len(bad := np.flatnonzero(self.links[slots] < 0)):
            again = rng.integers(filled, size=8 + 2 * len(bad) * filled // self.items)
            again = again[self.links[again] >= 0][: len(bad)]
            slots[bad[: len(again)]] = again
        return slots

    def _window(self, starts: np.ndarray) -> np.ndarray:
        """Returns the slots `[B, T]` of the rows of the windows that start at `starts` `[B]`."""
        if self.regular and self._source is not None:
            return (starts[:, None] + self._source.offsets) % self.capacity
        window = np.empty((len(starts), self.sequence_length), np.int64)
        window[:, 0] = starts
        for t in range(1, self.sequence_length):
            link = self.links[window[:, t - 1]]
            window[:, t] = link ^ (link >> 31)  # link, or ~link where it is negative
        return window

    def _count(self, starts: np.ndarray) -> np.ndarray:
        """Counts the draws, and returns the counts (int32 `[B]`), which stop at 65,535."""
        if int(self.times_sampled[starts].max()) + len(starts) <= _MOST_SAMPLED:
            np.add.at(self.times_sampled, starts, np.uint16(1))
        else:
            slots, draws = np.unique(starts, return_counts=True)
            self.times_sampled[slots] = np.minimum(self.times_sampled[slots] + draws, _MOST_SAMPLED)
        return self.times_sampled[starts].astype(np.int32)

    def update_priorities(self, keys: np.ndarray, priorities: np.ndarray) -> None:
        """Sets checked priorities `[n]` of the items `keys` `[n]`; stale keys are ignored."""
        assert self.tree is not None
        masses = _power(priorities, self._exponent)
        if (masses > 1e200).any():
            raise ValueError(
                f"priority^{self._exponent} is too large for float64: {priorities.max()}"
            )
        slots = (keys & np.uint64(2**32 - 1)).astype(np.int64)
        generations = (keys >> np.uint64(32)).astype(np.int64)
        numbers = generations * self.capacity + slots
        kept = (slots < self.capacity) & (numbers < self.total) & (numbers >= self.oldest)
        kept[kept] = self.links[slots[kept]] >= 0
        self.priorities[slots[kept]] = priorities[kept]
        self.tree.set(slots[kept], masses[kept])
        self.max_priority = max(self.max_priority, float(np.max(priorities[kept], initial=0.0)))

    # -- files

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns views of all that is kept of the rows, by name, in the order of their slots."""
        arrays = {f"column/{name}": column for name, column in self.columns.items()}
        arrays |= {"links": self.links, "times_sampled": self.times_sampled}
        if self.tree is not None:
            arrays["priorities"] = self.priorities
        return {name: array[: len(self)] for name, array in arrays.items()}

    def restore(
        self, arrays: dict[str, np.ndarray], base: int, total: int, max_priority: float
    ) -> None:
        """Replaces all rows.

        Args:
          arrays: Result of the method `arrays` of this or another ring; priorities that are missing
            are 1.
          base: Number of the first row since the buffer was last cleared.
          total: Number of the next row.
          max_priority: Priority of new windows.
        """
        self.reset(base)
        self.total = total
        arrays = {"priorities": np.ones(len(self))} | arrays
        for name, array in self.arrays().items():
            array[:] = arrays[name]
        starts = np.flatnonzero(self.links[: len(self)] >= 0)
        self.items = len(starts)
        self.max_priority = max_priority
        if self.tree is not None and self.items:
            self.tree.set(starts, _power(self.priorities[starts], self._exponent))
        self.regular = False  # the rows may be of streams that are not here: follow the links


def _power(priorities: np.ndarray, exponent: float) -> np.ndarray:
    """Returns priority^exponent, and 0 for a priority of 0 with any exponent."""
    with np.errstate(over="ignore"):
        return np.where(priorities > 0, priorities**exponent, 0.0)
