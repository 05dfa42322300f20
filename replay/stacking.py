"""Stacks of frames, taken apart to be stored and put together again when they are sampled."""

import dataclasses
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..envs.specs import BoundedSpec
from ..envs.types import Array, StepType, Trajectory, Tree


@dataclasses.dataclass(frozen=True, eq=False)
class FrameStack:
    """Takes stacks of `size` frames apart and puts them together again, in NumPy as in JAX.

    A stack is a leaf of the observation with at least 3 axes whose last one, a multiple of `size`,
    holds the frames from the oldest to the newest: uint8 `[84, 84, 4]`, or `[84, 84, 12]` for 4
    frames in colour. Other leaves are left as they are.

    Args:
      spec: Specs of one row, `agent.collect_data_spec`.
      size: Number of frames in a stack.

    Raises:
      ValueError: `size` is less than 2, or no leaf is a stack.
    """

    spec: Trajectory
    size: int = 4

    def __post_init__(self) -> None:
        if self.size < 2:
            raise ValueError(f"stack_size: expected at least 2 frames, got {self.size}")
        if not any(jax.tree.leaves(self._stacked)):
            leaves = [str(leaf) for leaf in jax.tree.leaves(self.spec.observation)]
            raise ValueError(
                f"spec: expected an observation with a stack of {self.size} frames on the last "
                f"axis of an image, such as uint8[84,84,{self.size}], got {leaves}; stack them "
                f"with envs.atari.make(..., frame_stack={self.size})"
            )

    @cached_property
    def _stacked(self) -> Tree:
        """True for each leaf of the observation that is a stack."""
        return jax.tree.map(
            lambda s: len(s.shape) >= 3 and s.shape[-1] % self.size == 0, self.spec.observation
        )

    @cached_property
    def stored_spec(self) -> Trajectory:
        """The specs of a row with the newest frame in place of each stack."""
        return self.spec._replace(
            observation=jax.tree.map(self._newest_spec, self._stacked, self.spec.observation)
        )

    def _newest_spec(self, stacked: bool, spec: Any) -> Any:
        if not stacked:
            return spec
        channels = spec.shape[-1] // self.size
        shape = (*spec.shape[:-1], channels)
        if isinstance(spec, BoundedSpec):
            low = spec.low[..., -channels:]
            return BoundedSpec(shape, spec.dtype, low, spec.high[..., -channels:])
        return dataclasses.replace(spec, shape=shape)

    def frame(self, row: Trajectory, index: int) -> Trajectory:
        """Returns the row with frame `index` (0 is the oldest) in place of each stack."""

        def cut(stacked: bool, leaf: Array) -> Array:
            if not stacked:
                return leaf
            channels = leaf.shape[-1] // self.size
            return leaf[..., index * channels : (index + 1) * channels]

        return row._replace(observation=jax.tree.map(cut, self._stacked, row.observation))

    def stacks(self, row: Trajectory) -> list[Array]:
        """Returns the leaves that are stacks, copied to `[..., size, channels]`."""
        pairs = zip(jax.tree.leaves(self._stacked), jax.tree.leaves(row.observation), strict=True)
        return [
            np.array(leaf).reshape(*leaf.shape[:-1], self.size, -1)
            for stacked, leaf in pairs
            if stacked
        ]

    def rebuild(self, rows: Trajectory) -> Trajectory:
        """Turns windows `[B, size - 1 + T, ...]` of stored rows into windows `[B, T, ...]` of rows.

        A stack goes back to its episode's FIRST row and no further: there the reset frame is
        repeated.
        """
        numpy: Any = np if isinstance(rows.step_type, np.ndarray) else jnp
        before = self.size - 1
        position = numpy.broadcast_to(
            numpy.arange(before, rows.step_type.shape[1]), rows.step_type[:, before:].shape
        )
        positions = [position]  # of the frames in a stack, from the oldest to the newest
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
