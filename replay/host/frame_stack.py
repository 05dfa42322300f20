"""Stacked images stored once: rows keep the newest frame, and sampling rebuilds the stacks."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ...envs.specs import SpecError
from ...envs.types import Array, Sample, StepType, Trajectory
from ..checks import check_sampling
from ..packing import RowLayout
from ..replay import Observer, ReplayBuffer
from ..stacking import FrameStack
from ..streams import Boundaries, break_row, following


class FrameStackReplay:
    """A `ReplayBuffer` of stacked images that stores each frame once, in any buffer on the host.

    It is about `stack_size` times smaller. Rows come in and windows go out with whole stacks,
    exactly as the buffer itself would have kept them. Inside, a row holds the newest frame, and
    windows are `stack_size - 1` rows longer; their first rows only lend their frames. A stream
    begins with a row that marks the break, and with the older frames of its first stack as rows of
    their own. So it does where a row does not continue the last one (for n environments in step:
    where one of them does not), and after `load`.

    Capacity and length count stored rows, hence a window can be drawn as long as the
    `stack_size - 1` rows before it are kept.

    Args:
      spec: Specs of one row, `agent.collect_data_spec`; `FrameStack` says which leaves are stacks.
      make_buffer: Function from the specs of a stored row and the length of a stored window to the
        buffer: `lambda spec, length: HostReplay(spec, capacity=1_000_000, sequence_length=length)`.
      sequence_length: Number of rows T in a window, `agent.train_sequence_length`.
      stack_size: Number of frames in a stack.

    Raises:
      ValueError: No leaf of the observation is a stack of this many frames.
    """

    def __init__(
        self,
        spec: Trajectory,
        make_buffer: Callable[[Any, int], ReplayBuffer],
        *,
        sequence_length: int = 2,
        stack_size: int = 4,
    ):
        self.sequence_length = sequence_length
        self._frames = FrameStack(spec, stack_size)
        self._layout = RowLayout(spec)
        self.buffer = make_buffer(self._frames.stored_spec, sequence_length + stack_size - 1)
        self._streams: list[_FrameStream] = []
        self._own = self._open_stream(self.buffer.add)

    @property
    def priority_exponent(self) -> float | None:
        """The buffer's exponent of priorities; None: it samples uniformly."""
        return self.buffer.priority_exponent

    @property
    def others_write(self) -> bool:
        """True if the rows are on a server, which others may be filling."""
        return getattr(self.buffer, "others_write", False)

    def writer(self, num_envs: int | None = None) -> Observer:
        """Returns an observer for a new stream of single rows, or for n of rows `[n, ...]`."""
        return self._open_stream(self.buffer.writer(num_envs))

    def add(self, row: Trajectory) -> None:
        """Adds a row, or one row from each of n environments (leaves `[n, ...]`, n streams).

        Raises:
          SpecError: The row does not meet the spec, or a FIRST row's stack is not the reset frame
            repeated; nothing is added.
          ValueError: The boundary rows between episodes are missing.
        """
        self._own(row)

    def _open_stream(self, write: Observer) -> Observer:
        stream = _FrameStream(self._frames)
        self._streams.append(stream)

        def add(row: Trajectory) -> None:
            self._layout.leaves(row, np.shape(row.step_type)[:1])
            stream.boundaries.check_batch(
                np.atleast_1d(row.step_type), np.atleast_1d(row.next_step_type)
            )
            for stored in stream.stored_rows(row):
                write(stored)

        return add

    def as_dataset(
        self,
        sample_batch_size: int | None = None,
        num_steps: int | None = None,
        *,
        prefetch: int = 2,
        device: Any = None,
    ) -> Iterator[Sample]:
        """Returns an endless iterator of samples; see `WindowBuffer.as_dataset`.

        Stacks are rebuilt where the buffer puts its batches: in NumPy, or on the device that the
        frames were copied to.
        """
        check_sampling(sample_batch_size, num_steps, prefetch, self.sequence_length)
        samples = self.buffer.as_dataset(sample_batch_size, prefetch=prefetch, device=device)
        return map(self._rebuild if sample_batch_size else self._rebuild_one, samples)

    def _rebuild(self, sample: Sample) -> Sample:
        return sample._replace(experience=self._frames.rebuild(sample.experience))

    def _rebuild_one(self, sample: Sample) -> Sample:
        rows = self._frames.rebuild(jax.tree.map(lambda x: x[None], sample.experience))
        return sample._replace(experience=jax.tree.map(lambda x: x[0], rows))

    def update_priorities(self, keys: Array, priorities: Array) -> None:
        """Sets the priorities `[n]` of the items `info.key` `[n]`; ignores missing items."""
        self.buffer.update_priorities(keys, priorities)

    def can_sample(self, n: int = 1) -> bool:
        """Returns True once at least n items, and the buffer's `min_size`, can be sampled."""
        return self.buffer.can_sample(n)

    @property
    def capacity(self) -> int:
        """The largest number of stored rows that are kept."""
        return self.buffer.capacity

    def __len__(self) -> int:
        return len(self.buffer)

    def save(self, path: str | Path) -> None:
        """Writes the whole buffer into the folder `path`, atomically; other files there stay."""
        self.buffer.save(path)

    def load(self, path: str | Path) -> None:
        """Replaces the contents by those that `save` wrote; every stream then begins again."""
        self.buffer.load(path)
        self._restart()

    def clear(self) -> None:
        """Drops all rows."""
        self.buffer.clear()
        self._restart()

    def _restart(self) -> None:
        for stream in self._streams:
            stream.last = None
            stream.boundaries.restart()

    def flush(self) -> None:
        """Waits until all rows that were added can be sampled."""
        self.buffer.flush()

    def close(self) -> None:
        """Ends each blocked or later `next()`; any thread may call it, also twice."""
        self.buffer.close()


class _FrameStream:
    """The last row of a stream, or of n in step, which shows if the next one continues it."""

    def __init__(self, frames: FrameStack):
        self._frames = frames
        self.boundaries = Boundaries()
        # The step types that continue the last row, and its stacks.
        self.last: tuple[Array, list[Array]] | None = None

    def stored_rows(self, row: Trajectory) -> list[Trajectory]:
        """Returns the rows to store for a row: it alone, or after the beginning of a stream."""
        stacks = self._frames.stacks(row)
        first = np.asarray(row.step_type) == StepType.FIRST
        for stack in stacks:
            if not _each(stack[first] == stack[first][..., -1:, :], 1).all():
                raise SpecError(
                    "observation: a FIRST row's stack has to be the reset frame repeated, since "
                    "older frames are not stored; pad it so: envs.atari.make does, and "
                    "gymnasium.wrappers.FrameStackObservation with padding_type='reset'"
                )
        begins = not self._continues(row, stacks, first)
        self.last = (following(row.step_type, row.next_step_type), stacks)
        newest = self._frames.frame(row, self._frames.size - 1)
        return [*self._beginning(row), newest] if begins else [newest]

    def _continues(self, row: Trajectory, stacks: list[Array], first: Array) -> bool:
        if self.last is None or np.shape(row.step_type) != np.shape(self.last[0]):
            return False
        expected, before = self.last
        same = row.step_type == expected
        for stack, old in zip(stacks, before, strict=True):
            same = same & (first | _each(stack[..., :-1, :] == old[..., 1:, :], np.ndim(first)))
        return bool(np.all(same))

    def _beginning(self, row: Trajectory) -> list[Trajectory]:
        """Returns the break, and the older frames as rows of an episode before.

        These are LAST rows, since only LAST is followed by FIRST.
        """
        oldest = self._frames.frame(row, 0)
        last = np.full_like(row.step_type, StepType.LAST)
        rows = [break_row(oldest)]
        for i in range(self._frames.size - 1):
            following_type = row.step_type if i == self._frames.size - 2 else last
            frame = self._frames.frame(row, i)
            rows.append(frame._replace(step_type=last, next_step_type=following_type))
        return rows


def _each(same: np.ndarray, batch_ndim: int) -> Any:
    """Returns, for each environment, if all elements are true."""
    return same.all(axis=tuple(range(batch_ndim, same.ndim)))
