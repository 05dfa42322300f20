"""Stacked images stored once: rows keep the newest frame, and sampling rebuilds the stacks."""

import dataclasses
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...envs.specs import BoundedSpec, SpecError
from ...envs.types import Array, Sample, StepType, Trajectory, Tree
from ..packing import RowLayout
from ..replay import Observer, Replay, break_row, check_dataset, following


@dataclasses.dataclass(frozen=True, eq=False)
class FrameStack:
    """Takes stacks of `size` frames apart and puts them together again, in NumPy as in JAX.

    A stack is a leaf of the observation with at least 3 axes whose last one, a multiple of `size`,
    holds the frames from the oldest to the newest: uint8 `[84, 84, 4]`, or `[84, 84, 12]` for 4
    frames in colour. Other leaves are left as they are.

    Raises:
      ValueError: `size` is less than 2, or no leaf is a stack.
    """

    spec: Trajectory
    size: int = 4

    def __post_init__(self):
        if self.size < 2:
            raise ValueError(f"stack_size: expected at least 2 frames, got {self.size}")
        if not any(jax.tree.leaves(self._stacked)):
            leaves = [str(leaf) for leaf in jax.tree.leaves(self.spec.observation)]
            raise ValueError(
                f"spec: expected an observation with a stack of {self.size} frames on the last "
                "axis of an image, such as "
                f"uint8[84,84,{self.size}], got {leaves}; stack them with envs.atari.make(..., "
                f"frame_stack={self.size})"
            )

    @cached_property
    def _stacked(self) -> Tree:
        """True for each leaf of the observation that is a stack."""
        return jax.tree.map(
            lambda s: len(s.shape) >= 3 and s.shape[-1] % self.size == 0, self.spec.observation
        )

    @cached_property
    def stored_spec(self) -> Trajectory:
        """The spec of a row with the newest frame in place of each stack."""
        return self.spec._replace(
            observation=jax.tree.map(self._newest_spec, self._stacked, self.spec.observation)
        )

    def _newest_spec(self, stacked: bool, spec: Any) -> Any:
        if not stacked:
            return spec
        channels = spec.shape[-1] // self.size
        shape = (*spec.shape[:-1], channels)
        if isinstance(spec, BoundedSpec):
            return BoundedSpec(
                shape, spec.dtype, spec.low[..., -channels:], spec.high[..., -channels:]
            )
        return dataclasses.replace(spec, shape=shape)

    def frame(self, row: Trajectory, index: int) -> Trajectory:
        """The row with frame `index` (0: the oldest) in place of each stack."""

        def cut(stacked: bool, leaf: Array) -> Array:
            channels = leaf.shape[-1] // self.size if stacked else 0
            return leaf[..., index * channels : (index + 1) * channels] if stacked else leaf

        return row._replace(observation=jax.tree.map(cut, self._stacked, row.observation))

    def stacks(self, row: Trajectory) -> list[Array]:
        """The leaves that are stacks, copied to `[..., size, channels]`."""
        pairs = zip(jax.tree.leaves(self._stacked), jax.tree.leaves(row.observation), strict=True)
        return [
            np.array(leaf).reshape(*leaf.shape[:-1], self.size, -1)
            for stacked, leaf in pairs
            if stacked
        ]

    def rebuild(self, rows: Trajectory) -> Trajectory:
        """Windows `[B, size - 1 + T, ...]` of stored rows as windows `[B, T, ...]` of rows with
        stacks.

        A stack goes back to its episode's FIRST row and no further: there the reset frame is
        repeated.
        """
        numpy: Any = np if isinstance(rows.step_type, np.ndarray) else jnp
        before = self.size - 1
        position = numpy.broadcast_to(
            numpy.arange(before, rows.step_type.shape[1]), rows.step_type[:, before:].shape
        )
        positions = [position]  # of the frames in a stack, newest first
        for _ in range(before):
            position = position - (
                numpy.take_along_axis(rows.step_type, position, axis=1) != StepType.FIRST
            )
            positions.insert(0, position)
        batch = numpy.arange(rows.step_type.shape[0])[:, None]

        def stack(stacked: bool, frames: Array) -> Array:
            if not stacked:
                return frames[:, before:]
            return numpy.concatenate([frames[batch, position] for position in positions], axis=-1)

        trimmed = jax.tree.map(lambda x: x[:, before:], rows._replace(observation=()))
        return trimmed._replace(observation=jax.tree.map(stack, self._stacked, rows.observation))


class FrameStackReplay:
    """A `Replay` of stacked images that stores each frame once, in any buffer on the host: about
    `stack_size` times smaller.

    Rows come in and windows go out with whole stacks, exactly as the buffer itself would have kept
    them. Inside, a row holds the newest frame, and windows are `stack_size - 1` rows longer, the
    first of which only lend their frames. A stream begins with a row that marks the break and with
    the older frames of its first stack as rows of their own; so it does where a row does not
    continue the last one (for n environments in step: where one of them does not), and after
    `load`.

    Capacity and length count stored rows, hence a window can be drawn as long as the
    `stack_size - 1` rows before it are kept.

    Args:
      spec: the specs of one row, `agent.collect_data_spec`; see `FrameStack` for which leaves are
        stacks.
      make_buffer: from the spec of a stored row and the length of a stored window to the buffer,
        for example `lambda spec, length: HostReplay(spec, capacity=1_000_000, sequence_length=length)`.
      sequence_length: rows T in a window, `agent.train_sequence_length`.
      stack_size: frames in a stack.

    Raises:
      ValueError: no leaf of the observation is a stack of so many frames.
    """

    def __init__(
        self,
        spec: Trajectory,
        make_buffer: Callable[[Any, int], Replay],
        *,
        sequence_length: int = 2,
        stack_size: int = 4,
    ):
        self.sequence_length = sequence_length
        self._frames, self._layout = FrameStack(spec, stack_size), RowLayout(spec)
        self.buffer = make_buffer(self._frames.stored_spec, sequence_length + stack_size - 1)
        self._streams: list[_Stream] = []
        self._own = self._open_stream(self.buffer.add)

    @property
    def priority_exponent(self) -> float | None:
        """The buffer's."""
        return self.buffer.priority_exponent

    def writer(self, num_envs: int | None = None) -> Observer:
        """An observer for one more stream of single rows, or for n more of rows `[n, ...]`."""
        return self._open_stream(self.buffer.writer(num_envs))

    def add(self, row: Trajectory) -> None:
        """Adds a row, or one row from each of n environments (leaves `[n, ...]`, n streams), to the
        buffer's own streams.

        Raises:
          SpecError: the row does not meet the spec, or a FIRST row's stack is not the reset frame
            repeated; nothing is added.
        """
        self._own(row)

    def _open_stream(self, write: Observer) -> Observer:
        stream = _Stream(self._frames)
        self._streams.append(stream)

        def add(row: Trajectory) -> None:
            self._layout.leaves(row, np.shape(row.step_type)[:1])
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
        """An endless iterator of samples `[B, T, ...]`, drawn with replacement; one unbatched item
        `[T, ...]` for None.

        Stacks are rebuilt where the buffer puts its batches: in NumPy, or on the device that the
        frames were copied to.
        """
        check_dataset(sample_batch_size, num_steps, prefetch, self.sequence_length)
        samples = self.buffer.as_dataset(sample_batch_size, prefetch=prefetch, device=device)
        return map(self._rebuild if sample_batch_size else self._rebuild_one, samples)

    def _rebuild(self, sample: Sample) -> Sample:
        return sample._replace(experience=self._frames.rebuild(sample.experience))

    def _rebuild_one(self, sample: Sample) -> Sample:
        rows = self._frames.rebuild(jax.tree.map(lambda x: x[None], sample.experience))
        return sample._replace(experience=jax.tree.map(lambda x: x[0], rows))

    def update_priorities(self, keys: Array, priorities: Array) -> None:
        """Sets the priorities `[n]` of the items `info.key` `[n]` (uint64); items that are gone are
        passed over.
        """
        self.buffer.update_priorities(keys, priorities)

    def can_sample(self, n: int = 1) -> bool:
        """True once at least n items, and the buffer's `min_size`, can be sampled."""
        return self.buffer.can_sample(n)

    @property
    def capacity(self) -> int:
        """The most rows that are kept."""
        return self.buffer.capacity

    def __len__(self) -> int:
        return len(self.buffer)

    def save(self, path: str | Path) -> None:
        """Writes the whole buffer into the folder `path`, atomically, and touches nothing else
        there.
        """
        self.buffer.save(path)

    def load(self, path: str | Path) -> None:
        """Replaces the contents by what `save` wrote; every stream then begins anew."""
        self.buffer.load(path)
        self._restart()

    def clear(self) -> None:
        """Drops all rows."""
        self.buffer.clear()
        self._restart()

    def _restart(self) -> None:
        for stream in self._streams:
            stream.last = None

    def flush(self) -> None:
        """Waits until all rows that were added can be sampled."""
        self.buffer.flush()

    def close(self) -> None:
        """Ends every blocked or later `next()` with StopIteration; may be called twice, and from
        any thread.
        """
        self.buffer.close()


class _Stream:
    """What must be known of a stream, or of n in step, to tell whether a row continues it."""

    def __init__(self, frames: FrameStack):
        self._frames = frames
        self.last: tuple[Array, list[Array]] | None = (
            None  # the step types that continue the last row, and its stacks
        )

    def stored_rows(self, row: Trajectory) -> list[Trajectory]:
        """The rows to store for the next one: it alone, or where it continues nothing the beginning
        of a stream.
        """
        stacks, first = self._frames.stacks(row), np.asarray(row.step_type) == StepType.FIRST
        for stack in stacks:
            if not _each(stack[first] == stack[first][..., -1:, :], 1).all():
                raise SpecError(
                    "observation: a FIRST row's stack has to be the reset frame repeated, since "
                    "older frames are not stored; "
                    "pad it so: envs.atari.make does, and "
                    "gymnasium.wrappers.FrameStackObservation with padding_type='reset'"
                )
        begins = not self._continues(row, stacks, first)
        self.last = (following(row.step_type, row.next_step_type), stacks)
        return [
            *(self._beginning(row) if begins else ()),
            self._frames.frame(row, self._frames.size - 1),
        ]

    def _continues(self, row: Trajectory, stacks: list[Array], first: Array) -> bool:
        if self.last is None or np.shape(row.step_type) != np.shape(self.last[0]):
            return False
        expected, before = self.last
        same = row.step_type == expected
        for stack, old in zip(stacks, before, strict=True):
            same = same & (first | _each(stack[..., :-1, :] == old[..., 1:, :], np.ndim(first)))
        return bool(np.all(same))

    def _beginning(self, row: Trajectory) -> list[Trajectory]:
        """The break, and the older frames: rows as if of an episode before, since only LAST is
        followed by FIRST.
        """
        oldest = self._frames.frame(row, 0)
        last = np.full_like(row.step_type, StepType.LAST)
        rows = [break_row(oldest)]
        for i in range(self._frames.size - 1):
            following = row.step_type if i == self._frames.size - 2 else last
            rows.append(
                self._frames.frame(row, i)._replace(step_type=last, next_step_type=following)
            )
        return rows


def _each(same: np.ndarray, batch_ndim: int) -> Any:
    """Whether all is true for each environment."""
    return same.all(axis=tuple(range(batch_ndim, same.ndim)))
