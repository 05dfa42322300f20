"""Pure metrics of a stream of rows; each reads a small record, under `jit`, `scan` and `vmap` too.

All metrics keep the same record, so in a scan one record serves several:

    >>> average, longest = AverageReturn(), AverageEpisodeLength()
    >>> record = average.init(batch_shape=(4,))
    >>> float(average.result(record)), float(longest.result(record))
    (0.0, 0.0)

A row whose step type is LAST (a boundary row) counts nowhere. An episode ends with the row whose
next step type is LAST, at a time limit as at a termination; a row whose step type is FIRST starts
one, dropping what was left unfinished. Each environment of a batch has an episode of its own.
Before the first episode has ended, every result is 0, as in TF-Agents.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
from flax import struct

from ..envs.types import Array, Trajectory
from .counting import accumulate


@struct.dataclass
class EpisodeRecord:
    """What metrics are computed from, as NumPy or JAX arrays.

    `episode_return` and `episode_length` `[*batch_shape]` belong to the episodes under way,
    `returns` and `lengths` `[buffer_size]` to the last ones that ended (zeros where there are not
    that many yet; in no order). `steps` and `episodes` are counts of environment steps and of ended
    episodes (scalars; int32 on a device).
    """

    episode_return: Array
    episode_length: Array
    returns: Array
    lengths: Array
    steps: Array
    episodes: Array


@dataclasses.dataclass(frozen=True, eq=False)
class Metric:
    """The part that metrics share; one of your own is a subclass with a `result`.

    Args:
      buffer_size: over how many of the last episodes the result is taken.

    Raises:
      ValueError: if `buffer_size` is less than 1.
    """

    buffer_size: int = 10

    def __post_init__(self):
        if self.buffer_size < 1:
            raise ValueError(
                f"{self.name}: buffer_size must be at least 1 episode, got {self.buffer_size}"
            )

    @property
    def name(self) -> str:
        """What the metric is called in logs: its class's name."""
        return type(self).__name__

    def init(self, batch_shape: tuple[int, ...] = ()) -> EpisodeRecord:
        """An empty record for rows with leading axes `batch_shape`."""
        return EpisodeRecord(
            episode_return=jnp.zeros(batch_shape, jnp.float32),
            episode_length=jnp.zeros(batch_shape, jnp.int32),
            returns=jnp.zeros(self.buffer_size, jnp.float32),
            lengths=jnp.zeros(self.buffer_size, jnp.int32),
            steps=jnp.zeros((), jnp.int32),
            episodes=jnp.zeros((), jnp.int32),
        )

    def update(self, record: EpisodeRecord, row: Trajectory) -> EpisodeRecord:
        """The record after one more row, `[*batch_shape]`; rewards are scalars per environment."""
        open_return, episode_return, ended = accumulate(record.episode_return, row.reward, row)
        open_length, episode_length, _ = accumulate(record.episode_length, jnp.int32(1), row)
        # Episodes that end together enter the ring in order of their environments. Where there are
        # more of them than slots the last ones stay; the others get a slot out of range, which
        # drops them (a slot may be written only once).
        size = record.returns.shape[0]
        order = jnp.cumsum(ended.ravel(), dtype=jnp.int32)
        keep = ended.ravel() & (order > order[-1] - size)
        slot = jnp.where(keep, (record.episodes + order - 1) % size, size)
        return EpisodeRecord(
            episode_return=open_return.astype(record.episode_return.dtype),
            episode_length=open_length,
            returns=record.returns.at[slot].set(
                episode_return.ravel().astype(record.returns.dtype), mode="drop"
            ),
            lengths=record.lengths.at[slot].set(episode_length.ravel(), mode="drop"),
            steps=record.steps + (~row.is_last()).sum(dtype=jnp.int32),
            episodes=record.episodes + order[-1],
        )

    def result(self, record: EpisodeRecord) -> Array:
        """The metric's value, a scalar; by array methods, so that NumPy and JAX records serve."""
        raise NotImplementedError(f"{self.name} must define result(record)")


class AverageReturn(Metric):
    """The mean undiscounted return of the last `buffer_size` episodes."""

    def result(self, record: EpisodeRecord) -> Array:
        return record.returns.sum() / _count(record)


class MaxReturn(Metric):
    """The highest undiscounted return of the last `buffer_size` episodes."""

    def result(self, record: EpisodeRecord) -> Array:
        return record.returns.max(
            initial=-np.inf, where=_count(record) > np.arange(self.buffer_size)
        )


class MinReturn(Metric):
    """The lowest undiscounted return of the last `buffer_size` episodes."""

    def result(self, record: EpisodeRecord) -> Array:
        return record.returns.min(
            initial=np.inf, where=_count(record) > np.arange(self.buffer_size)
        )


class AverageEpisodeLength(Metric):
    """The mean number of environment steps of the last `buffer_size` episodes."""

    def result(self, record: EpisodeRecord) -> Array:
        return record.lengths.sum() / _count(record)


@dataclasses.dataclass(frozen=True, eq=False)
class EnvironmentSteps(Metric):
    """The number of environment steps so far, over all environments; boundary rows are resets and
    do not count.
    """

    buffer_size: int = dataclasses.field(default=1, init=False)

    def result(self, record: EpisodeRecord) -> Array:
        return record.steps


@dataclasses.dataclass(frozen=True, eq=False)
class NumberOfEpisodes(Metric):
    """The number of episodes that have ended so far, over all environments."""

    buffer_size: int = dataclasses.field(default=1, init=False)

    def result(self, record: EpisodeRecord) -> Array:
        return record.episodes


def _count(record: EpisodeRecord) -> Array:
    """How many slots hold an episode; 1 where none does: the first slot's zero is the result."""
    return record.episodes.clip(1, record.returns.shape[0])
