"""Counts of steps, episodes and returns in rows on the host."""

from collections import deque
from typing import Any

import numpy as np

from ..envs.types import StepType, Trajectory

_BLOCK = 256  # rows that are counted together: one by one they take several times as long


class EpisodeLog:
    """An observer of rows that keeps the returns and lengths of the episodes that have ended.

    Rows are unbatched or `[n]`, NumPy or JAX arrays. It holds on to them for a while, so they must
    not be written to; environments of this library hand out arrays that stay as they are. Sums are
    float64. Boundary rows count nowhere; a FIRST row drops what was left unfinished.

        >>> from jax_agents.metrics import EpisodeLog
        >>> log = EpisodeLog()
        >>> returns, lengths = log.take()
        >>> returns.shape, log.num_steps
        ((0,), 0)

    Args:
      max_episodes: Greatest number of episodes to keep; the oldest are dropped. None keeps all.

    Raises:
      ValueError: on a call, if rows change their batch shape without `reset()`, or rewards are not
        scalars.
    """

    def __init__(self, max_episodes: int | None = None):
        self._ended: deque[tuple[float, int]] = deque(maxlen=max_episodes)
        self.reset()

    def reset(self) -> None:
        """Forgets everything, as if no row had been seen."""
        self._shape: tuple[int, ...] | None = None
        self._rows: list[tuple[Any, Any, Any]] = []  # not counted yet
        self._ended.clear()
        self._num_steps = 0
        self._num_episodes = 0
        self._return = np.zeros(1)
        self._length = np.zeros(1, np.int64)

    def __call__(self, row: Trajectory) -> None:
        """Counts one row, or one `[n]` batch of rows."""
        shape = np.shape(row.step_type)
        if shape != self._shape:
            self._start(shape, np.shape(row.reward))
        self._rows.append((row.step_type, row.next_step_type, row.reward))
        if len(self._rows) == _BLOCK:
            self._count()

    @property
    def num_steps(self) -> int:
        """The number of environment steps so far, over all environments."""
        self._count()
        return self._num_steps

    @property
    def num_episodes(self) -> int:
        """The number of episodes that have ended so far, over all environments."""
        self._count()
        return self._num_episodes

    @property
    def unfinished(self) -> tuple[np.ndarray, np.ndarray]:
        """Copies of the returns and lengths so far of the unfinished episodes, `[]` or `[n]`."""
        self._count()
        shape = self._shape or ()
        return self._return.reshape(shape).copy(), self._length.reshape(shape).copy()

    def last(self, count: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Returns the returns (float64) and lengths (int64) of the last episodes, oldest first.

        Args:
          count: Greatest number of episodes; None gives all that are kept.
        """
        self._count()
        ended = list(self._ended)
        if count is not None:
            ended = ended[max(0, len(ended) - count) :]
        returns = np.array([episode_return for episode_return, _ in ended], np.float64)
        return returns, np.array([length for _, length in ended], np.int64)

    def take(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the returns and lengths of all episodes that are kept, and drops them."""
        taken = self.last()
        self._ended.clear()
        return taken

    def _start(self, shape: tuple[int, ...], reward_shape: tuple[int, ...]) -> None:
        if reward_shape != shape:
            raise ValueError(
                f"expected one reward per environment, of shape {shape}, got {reward_shape}"
            )
        if self._shape is not None:
            raise ValueError(
                f"rows had batch shape {self._shape} and now have {shape}; call reset() between "
                "them, or give each driver an observer of its own"
            )
        self._shape = shape
        self._return = np.zeros(shape).reshape(-1)
        self._length = np.zeros(shape, np.int64).reshape(-1)

    def _count(self) -> None:
        """Counts the rows that are waiting, all at once."""
        if not self._rows:
            return
        shape = (len(self._rows), len(self._return))
        step_type, next_step_type, reward = (
            np.reshape(leaves, shape) for leaves in zip(*self._rows, strict=True)
        )
        self._rows.clear()
        live = step_type != StepType.LAST
        first = step_type == StepType.FIRST
        ended = live & (next_step_type == StepType.LAST)
        earned = np.where(live, reward, 0.0).astype(np.float64)
        begin = np.zeros(shape[1], np.int64)  # row of the block from which sums are still to come
        for t, i in np.argwhere(first | ended):
            if first[t, i]:
                self._return[i] = self._length[i] = 0
                begin[i] = t
            if ended[t, i]:
                rows = slice(begin[i], t + 1)
                total = self._return[i] + earned[rows, i].sum()
                self._ended.append((float(total), int(self._length[i] + live[rows, i].sum())))
                self._return[i] = self._length[i] = 0
                begin[i] = t + 1
        unfinished = np.arange(shape[0])[:, None] >= begin
        self._return += np.sum(earned, axis=0, where=unfinished)
        self._length += np.sum(live, axis=0, where=unfinished)
        self._num_steps += int(np.count_nonzero(live))
        self._num_episodes += int(np.count_nonzero(ended))
