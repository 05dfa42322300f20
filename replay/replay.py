"""What every replay buffer on the host is, and the checks that all of them share."""

import atexit
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..envs.types import Array, Sample, StepType, Trajectory

BREAK = np.int32(-1)  # the step type of a row where a stream is broken
Observer = Callable[
    [Trajectory], None
]  # takes a row, or a [n] batch of rows: replay.add, a metric, any callable


class Replay(Protocol):
    """Rows in, windows of `sequence_length` consecutive rows of one stream out.

    A window may span episodes: the boundary row (LAST -> FIRST) is part of it and is masked in
    every loss. Windows begin every `stride` rows, counted from the stream's first row or from the
    last row that did not continue its stream. Capacity and length count rows; the oldest row is
    overwritten, which removes each window that holds it.
    """

    @property
    def capacity(self) -> int:
        """The most rows that are kept."""

    def flush(self) -> None:
        """Waits until all rows that were added can be sampled."""

    @property
    def priority_exponent(self) -> float | None:
        """Items are drawn with probability proportional to priority to this power; None:
        uniformly.
        """

    def __len__(self) -> int:
        """The rows that are kept now."""

    def writer(self, num_envs: int | None = None) -> Observer:
        """An observer for one more stream of single rows, or for n more of rows `[n, ...]`; use
        each from one thread.
        """

    def add(self, row: Trajectory) -> None:
        """Adds a row, or one row from each of n environments (leaves `[n, ...]`, n streams), to the
        buffer's own streams.
        """

    def as_dataset(
        self,
        sample_batch_size: int | None = None,
        num_steps: int | None = None,
        *,
        prefetch: int = 2,
        device: Any = None,
    ) -> Iterator[Sample]:
        """An endless iterator of samples `[B, T, ...]`, drawn with replacement; one unbatched item
        `[T, ...]` for None.
        """

    def update_priorities(self, keys: Array, priorities: Array) -> None:
        """Sets the priorities `[n]` of the items `info.key` `[n]` (uint64); items that are gone are
        passed over.
        """

    def can_sample(self, n: int = 1) -> bool:
        """True once at least n items, and the buffer's `min_size`, can be sampled."""

    def save(self, path: str | Path) -> None:
        """Writes the whole buffer into the folder `path`, atomically, and touches nothing else
        there.
        """

    def load(self, path: str | Path) -> None:
        """Replaces the buffer's contents by what `save` wrote; this object's configuration holds
        where the two differ.
        """

    def clear(self) -> None:
        """Drops all rows."""

    def close(self) -> None:
        """Ends every blocked or later `next()` with StopIteration; may be called twice, and from
        any thread.
        """


def check_config(
    *,
    capacity: int,
    sequence_length: int,
    stride: int,
    priority_exponent: float | None,
    min_size: int,
    timeout: float,
) -> None:
    """Raises a ValueError that names the argument for a configuration that no buffer could
    serve.
    """
    for name, value in (
        ("capacity", capacity),
        ("sequence_length", sequence_length),
        ("stride", stride),
        ("min_size", min_size),
    ):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
            hint = ""
            if value is None:
                hint = "; pass agent.train_sequence_length; where that is None, the agent is on-policy: use replay.HostQueue"
            raise ValueError(f"{name} must be an integer of at least 1, got {value!r}{hint}")
    if capacity < sequence_length:
        raise ValueError(
            f"capacity={capacity} rows cannot hold one window of "
            f"sequence_length={sequence_length} rows"
        )
    if min_size > capacity:
        raise ValueError(
            f"min_size={min_size} items can never be reached with capacity={capacity} rows"
        )
    if priority_exponent is not None and not 0.0 <= priority_exponent < np.inf:
        raise ValueError(
            "priority_exponent must be None (uniform) or a finite number >= 0, got "
            f"{priority_exponent!r}"
        )
    if not timeout > 0:
        raise ValueError(f"timeout must be a positive number of seconds, got {timeout!r}")


def check_dataset(
    sample_batch_size: int | None, num_steps: int | None, prefetch: int, sequence_length: int
) -> None:
    """Raises a ValueError for arguments of `as_dataset` that a buffer of `sequence_length` cannot
    serve.
    """
    if num_steps is not None and num_steps != sequence_length:
        raise ValueError(
            f"num_steps={num_steps}, but this buffer was built with "
            f"sequence_length={sequence_length}, which fixes the length "
            "of its windows; leave num_steps out, or build the buffer with "
            f"sequence_length={num_steps}"
        )
    if sample_batch_size is not None and sample_batch_size < 1:
        raise ValueError(
            "sample_batch_size must be at least 1, or None for one unbatched item, got "
            f"{sample_batch_size}"
        )
    if prefetch < 0:
        raise ValueError(f"prefetch must be at least 0, got {prefetch}")


def check_priorities(
    keys: Array, priorities: Array, priority_exponent: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """The keys `[n]` as uint64 and the priorities `[n]` as float64, on the host.

    Raises:
      ValueError: a priority is NaN, infinite or negative, the lengths differ, or the buffer is
        uniform.
      TypeError: the keys have passed through JAX, which cuts uint64 to 32 bits, so that they would
        match nothing.
    """
    if priority_exponent is None:
        raise ValueError(
            "this buffer samples uniformly; build it with priority_exponent=0.6, say, to set "
            "priorities"
        )
    keys, priorities = np.asarray(keys), np.asarray(priorities, np.float64)
    if keys.size and (keys.dtype.kind not in "ui" or keys.dtype.itemsize < 8):
        raise TypeError(
            f"keys must be the uint64 array info.key, got {keys.dtype}; keep it in NumPy: JAX "
            "cuts it to 32 bits"
        )
    if keys.shape != priorities.shape or keys.ndim > 1:
        raise ValueError(
            f"expected one priority for each key, got keys {keys.shape} and priorities "
            f"{priorities.shape}"
        )
    bad = ~(np.isfinite(priorities) & (priorities >= 0))
    if bad.any():
        raise ValueError(
            "priorities must be finite and >= 0, got "
            f"{np.atleast_1d(priorities)[np.atleast_1d(bad)][:5].tolist()}"
        )
    return keys.reshape(-1).astype(np.uint64), priorities.reshape(-1)


def break_row(row: Trajectory) -> Trajectory:
    """A row, like `row`, that continues nothing and that nothing continues: no window of two rows
    or more holds it.
    """
    mark, nothing = np.full_like(row.step_type, BREAK), np.full_like(row.step_type, BREAK - 1)
    return row._replace(step_type=mark, next_step_type=nothing)


def following(step_type: Array, next_step_type: Array) -> np.ndarray:
    """The step type of the row that continues such a one, elementwise; -1: none does, as in
    `continues`.
    """
    return np.where(
        (next_step_type == StepType.FIRST) & (step_type != StepType.LAST), -1, next_step_type
    )


def continues(last: tuple[int, int] | None, step_type: int) -> bool:
    """Whether a row of this step type follows on one of the (step type, next step type) `last`; not
    if there was none.
    """
    if last is None:
        return False
    last_step_type, expected = last
    # FIRST follows LAST only: a bootstrap row also says FIRST, since it is zero there.
    return step_type == expected and (expected != StepType.FIRST or last_step_type == StepType.LAST)


_open: "weakref.WeakSet[Replay]" = weakref.WeakSet()


def close_at_exit(replay: Replay) -> None:
    """Has `replay` closed when the program ends, so that its last rows reach their server."""
    _open.add(replay)


@atexit.register
def _close_all() -> None:
    for replay in list(_open):
        replay.close()
