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
    """`DeviceReplay` for stacked images, each frame stored once: the same functions, for use inside
    `jit`, `scan` and `vmap`.

    The first row of each stream has to be FIRST, as it is after a reset, and a FIRST row's stack
    the reset frame repeated (nothing checks it on device). Each environment's `stack_size - 1`
    oldest rows only lend their frames.

    Args:
      spec: the specs of one row, `agent.collect_data_spec`; see `FrameStack` for which leaves are
        stacks.
      capacity: rows kept, of all environments together.
      sequence_length: rows T in a window.
      num_envs: environments B whose rows `add` takes.
      priority_exponent: None samples uniformly; see `DeviceReplay`.
      stack_size: frames in a stack.
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
        """A buffer of the rows, all zero, from which the first stacks would lend frames if no FIRST
        row forbade it.
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
        """Draws windows `[batch_size, sequence_length, ...]` with replacement; see
        `DeviceReplay.sample`.
        """
        sample = self.buffer.sample(state, key, batch_size)
        return sample._replace(experience=self._frames.rebuild(sample.experience))

    def num_items(self, state: DeviceReplayState) -> Array:
        """The windows that can be sampled (int32 scalar)."""
        return self.buffer.num_items(state)

    def num_rows(self, state: DeviceReplayState) -> Array:
        """The rows kept, of all environments together, those of `init` included (int32 scalar)."""
        return self.buffer.num_rows(state)

    def can_sample(self, state: DeviceReplayState, n: int = 1) -> Array:
        """True once there are at least n windows (a boolean scalar)."""
        return self.buffer.can_sample(state, n)

    def update_priorities(
        self, state: DeviceReplayState, keys: Array, priorities: Array
    ) -> DeviceReplayState:
        """Sets the priorities `[n]` of the windows `info.key` `[n]`; see
        `DeviceReplay.update_priorities`.
        """
        return self.buffer.update_priorities(state, keys, priorities)
