"""The protocols of replay buffers: one for training loops, one for all other uses."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, TypeGuard

from ..envs.types import Array, Sample, Trajectory

# Takes a row, or a batch of rows `[n, ...]`: `replay.add`, a metric, any callable.
Observer = Callable[[Trajectory], None]


class Replay(Protocol):
    """The part of a buffer that a training loop uses.

    Rows go in, and windows of consecutive rows of one stream come out. A window may span episodes:
    the boundary row (LAST -> FIRST) is part of it and is masked in every loss.
    """

    @property
    def priority_exponent(self) -> float | None:
        """The power of an item's priority to which its probability is proportional; None: uniform.

        A buffer that draws in proportion to priorities is a `PrioritisedReplay`, too.
        """

    def add(self, row: Trajectory) -> None:
        """Adds a row, or one row from each of n environments (leaves `[n, ...]`, n streams)."""

    def as_dataset(self, sample_batch_size: int | None = None) -> Iterator[Sample]:
        """Returns an endless iterator of samples `[B, T, ...]`, drawn with replacement.

        Args:
          sample_batch_size: Number of windows B in a batch; None gives unbatched windows
            `[T, ...]`.
        """


class PrioritisedReplay(Replay, Protocol):
    """A `Replay` whose items have priorities."""

    def update_priorities(self, keys: Array, priorities: Array) -> None:
        """Sets the priorities `[n]` of the items `info.key` `[n]`; ignores missing items."""


class ReplayBuffer(PrioritisedReplay, Protocol):
    """A `Replay` that can be inspected, written from several places, saved and closed.

    Windows of `sequence_length` rows begin every `stride` rows, counted from the stream's first row
    or from the last row that did not continue its stream. Capacity and length count rows; the
    oldest row is overwritten, which removes each window that holds it.
    """

    @property
    def capacity(self) -> int:
        """The largest number of rows that are kept."""

    def __len__(self) -> int:
        """Returns the number of rows that are kept now."""

    def can_sample(self, n: int = 1) -> bool:
        """Returns True once at least n items, and the buffer's `min_size`, can be sampled."""

    def writer(self, num_envs: int | None = None) -> Observer:
        """Returns an observer for one more stream of single rows, or for n more of rows `[n, ...]`.

        Use each observer from one thread.
        """

    def as_dataset(
        self,
        sample_batch_size: int | None = None,
        num_steps: int | None = None,
        *,
        prefetch: int = 2,
        device: Any = None,
    ) -> Iterator[Sample]:
        """Returns an endless iterator of samples; see `WindowBuffer.as_dataset`."""

    def flush(self) -> None:
        """Waits until all rows that were added can be sampled."""

    def save(self, path: str | Path) -> None:
        """Writes the whole buffer into the folder `path`, atomically; other files there stay."""

    def load(self, path: str | Path) -> None:
        """Replaces the contents by those that `save` wrote; this object's configuration holds."""

    def clear(self) -> None:
        """Drops all rows."""

    def close(self) -> None:
        """Ends each blocked or later `next()`; any thread may call it, also twice."""


def is_prioritised(replay: Replay) -> TypeGuard[PrioritisedReplay]:
    """Returns True for a buffer that draws in proportion to priorities."""
    return replay.priority_exponent is not None
