"""Stacked images stored once in a buffer on device."""

import dataclasses
from functools import cached_property

import jax
import jax.numpy as jnp

from ...envs.types import Array, Sample, StepType, Trajectory
from ..stacking import FrameStack
from .replay import DeviceReplay, DeviceReplayState


@dataclasses.dataclass(frozen=True, eq=False)
class FrameStackDeviceReplay:
    """`DeviceReplay` for stacked images, which stores each frame once.

    It has the same functions, for use inside `jit`, `scan` and `vmap`. The first row of each stream
    has to be FIRST, as it is after a reset, and a FIRST row's stack the reset frame repeated
    (nothing checks it on device). Each environment's `stack_size - 1` oldest rows only lend their
    frames.

    Args:
      spec: Specs of one row, `agent.collect_data_spec`; `FrameStack` says which leaves are stacks.
      capacity: Number of rows that are kept, of all environments together.
      sequence_length: Number of rows T in a window.
      num_envs: Number of environments B whose rows `add` takes.
      priority_exponent: None samples uniformly; see `DeviceReplay`.
      stack_size: Number of frames in a stack.
    """

    spec: Trajectory
    capacity: int
    _: dataclasses.KW_ONLY
    sequence_length: int = 2
    num_envs: int = 1
    priority_exponent: float | Array | None = None
    stack_size: int = 4

    @cached_property
    def _frames(self) -> FrameStack:
        return FrameStack(self.spec, self.stack_size)

    @cached_property
    def buffer(self) -> DeviceReplay:
        """The buffer of single frames."""
        return DeviceReplay(
            self._frames.stored_spec,
            self.capacity,
            sequence_length=self.sequence_length + self.stack_size - 1,
            num_envs=self.num_envs,
            priority_exponent=self.priority_exponent,
        )

    def init(self) -> DeviceReplayState:
        """Returns a buffer of zero rows, which stand before the first stacks.

        No frame of theirs is ever shown, since a stack does not reach beyond its FIRST row.
        """
        lead = (self.num_envs, self.stack_size - 1)
        rows = jax.tree.map(
            lambda s: jnp.zeros((*lead, *s.shape), s.dtype), self._frames.stored_spec
        )
        return self.buffer.add(
            self.buffer.init(), rows._replace(step_type=jnp.full(lead, StepType.LAST))
        )

    def add(self, state: DeviceReplayState, rows: Trajectory) -> DeviceReplayState:
        """Adds T consecutive rows of each environment, leaves `[num_envs, T, ...]`."""
        return self.buffer.add(state, self._frames.frame(rows, self.stack_size - 1))

    def sample(self, state: DeviceReplayState, key: Array, batch_size: int) -> Sample:
        """Draws windows `[batch_size, sequence_length, ...]`; see `DeviceReplay.sample`."""
        sample = self.buffer.sample(state, key, batch_size)
        return sample._replace(experience=self._frames.rebuild(sample.experience))

    def num_items(self, state: DeviceReplayState) -> Array:
        """Returns the number of windows that can be sampled (int32 scalar)."""
        return self.buffer.num_items(state)

    def num_rows(self, state: DeviceReplayState) -> Array:
        """Returns the number of rows, with those of `init`, of all environments (int32 scalar)."""
        return self.buffer.num_rows(state)

    def can_sample(self, state: DeviceReplayState, n: int = 1) -> Array:
        """Returns True once there are at least n windows (boolean scalar)."""
        return self.buffer.can_sample(state, n)

    def update_priorities(
        self, state: DeviceReplayState, keys: Array, priorities: Array
    ) -> DeviceReplayState:
        """Sets the priorities `[n]` of the windows `info.key` `[n]`; see `DeviceReplay`."""
        return self.buffer.update_priorities(state, keys, priorities)
