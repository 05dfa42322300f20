"""From the rows of several streams to the items of a queue: segments or whole episodes."""

import jax
import numpy as np

from ...envs.types import Array, StepType, TimeStep, Trajectory, Tree
from ..streams import NO_STEP_TYPE, Boundaries, following


def item_rows(num_rows: int, episodes: bool) -> int:
    """Returns the number of rows T + 1 of an item.

    Args:
      num_rows: Number of rows of a segment, or of steps that an episode may have.
      episodes: True if items are whole episodes.
    """
    return num_rows + (2 if episodes else 1)


class Assembler:
    """Cuts the rows of n streams into items, which `ExperienceQueue` describes.

    Args:
      spec: Specs of one row.
      num_rows: Number of rows of a segment, or of steps that an episode may have.
      episodes: True if items are whole episodes.

    Attributes:
      num_rows_added: Number of rows of all streams so far.
      num_dropped: Number of rows that no item will hold.
    """

    def __init__(self, spec: Trajectory, num_rows: int, episodes: bool):
        self._spec = spec
        self._num_rows = num_rows
        self._episodes = episodes
        self._expected: np.ndarray  # the step types that continue the last rows, once there are any
        self._boundaries = Boundaries()
        self._open: Trajectory | None = None  # the rows of the open items, [n, T + 1, ...]
        self.num_rows_added = 0
        self.num_dropped = 0

    def add(self, leaves: list[np.ndarray]) -> tuple[list[Trajectory], str | None]:
        """Adds a row of each stream, leaves `[n, ...]` in the spec's order.

        Returns:
          The items that the row completes, and a message if an episode has more than `num_rows`
          steps; its rows are dropped.

        Raises:
          ValueError: The boundary rows between episodes are missing.
        """
        row = jax.tree.unflatten(jax.tree.structure(self._spec), leaves)
        if self._open is None:
            self._start(len(row.step_type))
        self._boundaries.check_batch(row.step_type, row.next_step_type)
        self._drop(row.step_type != self._expected)
        self._expected = following(row.step_type, row.next_step_type)
        self.num_rows_added += len(row.step_type)
        if self._episodes:
            return self._add_episode_rows(row)
        return self._add_segment_rows(row), None

    def bootstrap(self, time_step: TimeStep) -> list[Trajectory]:
        """Completes the segments that have T rows, with the time step `[n, ...]` that follows them.

        Their streams go on with new segments.
        """
        if self._open is None or self._episodes:
            return []
        full = np.flatnonzero(
            (self._length == self._num_rows) & (self._expected == time_step.step_type)
        )
        self._length[full] = 0
        return [self._segment(i, time_step) for i in full]

    def _start(self, n: int) -> None:
        shape = (n, self._num_rows + 1)
        self._open = jax.tree.map(lambda s: np.zeros((*shape, *s.shape), s.dtype), self._spec)
        self._length = np.zeros(n, np.int64)
        self._expected = np.full(n, NO_STEP_TYPE)

    def _drop(self, which: np.ndarray) -> None:
        self.num_dropped += int(self._length[which].sum())
        self._length[which] = 0

    def _store(self, row: Trajectory, which: Array) -> None:
        for column, leaf in zip(jax.tree.leaves(self._open), jax.tree.leaves(row), strict=True):
            column[which, self._length[which]] = leaf[which]
        self._length[which] += 1

    def _add_segment_rows(self, row: Trajectory) -> list[Trajectory]:
        full = np.flatnonzero(self._length == self._num_rows)
        items = [self._segment(i, row) for i in full]
        self._length[full] = 0
        self._store(row, np.arange(len(self._length)))
        return items

    def _segment(self, i: int, after: Trajectory | TimeStep) -> Trajectory:
        """Returns the segment of stream i with its bootstrap row.

        That has the step type and the observation of the row `after` it, and zeros.
        """
        item = jax.tree.map(lambda x: x[i].copy(), self._open)
        for leaf in jax.tree.leaves(item):
            leaf[-1] = 0
        item.step_type[-1] = after.step_type[i]
        for leaf, value in zip(
            jax.tree.leaves(item.observation), jax.tree.leaves(after.observation), strict=True
        ):
            leaf[-1] = value[i]
        return item

    def _add_episode_rows(self, row: Trajectory) -> tuple[list[Trajectory], str | None]:
        begun = (self._length > 0) | (row.step_type == StepType.FIRST)
        self.num_dropped += int(np.count_nonzero(~begun))
        last = row.step_type == StepType.LAST
        too_long = begun & (self._length == self._num_rows) & ~last
        self._drop(too_long)
        self._store(row, np.flatnonzero(begun & ~too_long))
        done = np.flatnonzero(begun & last)
        items = [self._episode(i) for i in done]
        self._length[done] = 0
        if not too_long.any():
            return items, None
        self.num_dropped += int(np.count_nonzero(too_long))
        return items, (
            f"an episode of stream {np.flatnonzero(too_long)[0]} has more than "
            f"num_rows={self._num_rows} steps; raise "
            "num_rows, or limit episodes, as envs.gym.make(..., max_episode_steps=...) does"
        )

    def _episode(self, i: int) -> Trajectory:
        """Returns the episode of stream i, with its boundary row repeated to the end."""
        rows = np.minimum(np.arange(item_rows(self._num_rows, True)), self._length[i] - 1)
        item: Tree = jax.tree.map(lambda x: x[i, rows], self._open)
        return item
