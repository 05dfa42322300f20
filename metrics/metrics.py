"""Pure metrics of a stream of rows.

Each reads one small record, which works under `jit`, `scan` and `vmap`. All metrics keep the same
record, so in a scan one record serves several:

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
    """The record that metrics are computed from, as NumPy or JAX arrays.

    Attributes:
      episode_return: Returns so far of the unfinished episodes, `[*batch_shape]`.
      episode_length: Lengths so far of the unfinished episodes, `[*batch_shape]`.
      returns: Returns of the last episodes that ended, in no order, `[buffer_size]`; zeros where
        there are not that many yet.
      lengths: Lengths of these episodes, `[buffer_size]`.
      steps: Number of environment steps, a scalar; int32 on a device.
      episodes: Number of episodes that ended, a scalar; int32 on a device.
    """

    episode_return: Array
    episode_length: Array
    returns: Array
    lengths: Array
    steps: Array
    episodes: Array


@dataclasses.dataclass(frozen=True, eq=False)
class Metric:
    """The base of metrics; to write one, derive from it and define `result`.

    Args:
      buffer_size: Number of the last episodes over which the result is taken.

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
        """The metric's name in logs: the name of its class."""
        return type(self).__name__

    def init(self, batch_shape: tuple[int, ...] = ()) -> EpisodeRecord:
        """Returns an empty record for rows with leading axes `batch_shape`."""
        return EpisodeRecord(
            episode_return=jnp.zeros(batch_shape, jnp.float32),
            episode_length=jnp.zeros(batch_shape, jnp.int32),
            returns=jnp.zeros(self.buffer_size, jnp.float32),
            lengths=jnp.zeros(self.buffer_size, jnp.int32),
            steps=jnp.zeros((), jnp.int32),
            episodes=jnp.zeros((), jnp.int32),
        )

    def update(self, record: EpisodeRecord, row: Trajectory) -> EpisodeRecord:
        """Returns the record after one more row.

        Args:
          record: Record before it.
          row: Row with the axes `[*batch_shape]`; rewards are scalars per environment.
        """
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
        """Returns the metric's value, a scalar.

        Write it with array methods, so that NumPy and JAX records both serve.
        """
        raise NotImplementedError(f"{self.name} must define result(record)")


class AverageReturn(Metric):
    """The mean undiscounted return of the last `buffer_size` episodes."""

    def result(self, record: EpisodeRecord) -> Array:
        """Returns the mean return."""
        return _total(record.returns, record) / _count(record)


class MaxReturn(Metric):
    """The highest undiscounted return of the last `buffer_size` episodes."""

    def result(self, record: EpisodeRecord) -> Array:
        """Returns the highest return."""
        return record.returns.max(
            initial=-np.inf, where=_count(record) > np.arange(self.buffer_size)
        )


class MinReturn(Metric):
    """The lowest undiscounted return of the last `buffer_size` episodes."""

    def result(self, record: EpisodeRecord) -> Array:
        """Returns the lowest return."""
        return record.returns.min(
            initial=np.inf, where=_count(record) > np.arange(self.buffer_size)
        )


class AverageEpisodeLength(Metric):
    """The mean number of environment steps of the last `buffer_size` episodes."""

    def result(self, record: EpisodeRecord) -> Array:
        """Returns the mean length, in steps."""
        return _total(record.lengths, record) / _count(record)


@dataclasses.dataclass(frozen=True, eq=False)
class EnvironmentSteps(Metric):
    """The number of environment steps so far, over all environments, without boundary rows."""

    buffer_size: int = dataclasses.field(default=1, init=False)

    def result(self, record: EpisodeRecord) -> Array:
        """Returns the number of steps."""
        return record.steps


@dataclasses.dataclass(frozen=True, eq=False)
class NumberOfEpisodes(Metric):
    """The number of episodes that have ended so far, over all environments."""

    buffer_size: int = dataclasses.field(default=1, init=False)

    def result(self, record: EpisodeRecord) -> Array:
        """Returns the number of episodes."""
        return record.episodes


def _total(values: Array, record: EpisodeRecord) -> Array:
    """Returns the sum of values in the dtype of returns: float64 in NumPy, float32 on a device."""
    return values.sum().astype(record.episode_return.dtype)


def _count(record: EpisodeRecord) -> Array:
    """Returns the number of slots that hold an episode.

    It is 1 where none does, so that the zero in the first slot is the result.
    """
    return record.episodes.clip(1, record.returns.shape[0])
