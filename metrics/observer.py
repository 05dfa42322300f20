"""Metrics on the host: an observer for drivers that costs about a microsecond per row."""

from collections import deque

import numpy as np

from ..envs.types import Array, StepType, Trajectory
from .metrics import EpisodeRecord, Metric


class MetricObserver:
    """Hosts one or several metrics as an observer of rows.

    It keeps in plain Python and NumPy (float64) the record that `Metric.update` keeps on a device,
    once for all its metrics. Rows are unbatched or `[n]` (NumPy; JAX arrays are copied to the
    host).

        >>> from jax_agents.metrics import AverageReturn, EnvironmentSteps, MetricObserver
        >>> observer = MetricObserver(AverageReturn(), EnvironmentSteps())
        >>> observer.result()
        {'AverageReturn': 0.0, 'EnvironmentSteps': 0}

    Raises:
      ValueError: if there is no metric or two of one name; on a call, if rows change their batch
        shape without `reset()`, or rewards are not scalars.
    """

    def __init__(self, *metrics: Metric):
        names = [metric.name for metric in metrics]
        if not metrics or len(set(names)) < len(names):
            raise ValueError(
                f"MetricObserver needs metrics with names of their own, got {names}; use an "
                "observer for each"
            )
        self.metrics = metrics
        self.name = ", ".join(names)
        self.reset()

    def reset(self) -> None:
        """Forgets everything, as if no row had been seen."""
        size = max(metric.buffer_size for metric in self.metrics)
        self._shape: tuple[int, ...] | None = None
        self._return: Array = 0.0  # of the episodes under way: Python numbers, or arrays [n]
        self._length: Array = 0
        self._ended: deque[tuple[float, int]] = deque(maxlen=size)
        self._steps = 0
        self._episodes = 0

    def __call__(self, row: Trajectory) -> None:
        """Counts one row, or one `[n]` batch of rows."""
        shape = np.shape(row.step_type)
        if shape != self._shape:
            self._start(shape, np.shape(row.reward))
        if shape:
            self._add_batch(
                np.asarray(row.step_type), np.asarray(row.next_step_type), np.asarray(row.reward)
            )
            return
        if row.step_type == StepType.LAST:
            return
        if row.step_type == StepType.FIRST:
            self._return, self._length = 0.0, 0
        self._return += float(row.reward)
        self._length += 1
        self._steps += 1
        if row.next_step_type == StepType.LAST:
            self._ended.append((self._return, self._length))
            self._episodes += 1
            self._return, self._length = 0.0, 0

    def record(self, buffer_size: int = 10) -> EpisodeRecord:
        """A copy of the record, in NumPy, with the last `buffer_size` episodes (at most as many as
        its metrics keep).
        """
        last = list(self._ended)[-buffer_size:]
        returns, lengths = np.zeros(buffer_size), np.zeros(buffer_size, np.int64)
        for i, (episode_return, episode_length) in enumerate(last):
            returns[i], lengths[i] = episode_return, episode_length
        return EpisodeRecord(
            episode_return=np.array(self._return),
            episode_length=np.array(self._length),
            returns=returns,
            lengths=lengths,
            steps=np.int64(self._steps),
            episodes=np.int64(self._episodes),
        )

    def result(self) -> float | int | dict[str, float | int]:
        """The metric's value; of several metrics, a dict by name. 0 where it is about episodes and
        none has ended.
        """
        values = {
            metric.name: metric.result(self.record(metric.buffer_size)).item()
            for metric in self.metrics
        }
        return values if len(values) > 1 else values[self.name]

    def _start(self, shape: tuple[int, ...], reward_shape: tuple[int, ...]) -> None:
        if reward_shape != shape:
            raise ValueError(
                f"{self.name}: expected one reward per environment, of shape {shape}, got "
                f"{reward_shape}"
            )
        if self._shape is not None:
            raise ValueError(
                f"{self.name}: rows had batch shape {self._shape} and now have {shape}; "
                "call reset() between them, or give each driver an observer of its own"
            )
        self._shape = shape
        if shape:
            self._return, self._length = np.zeros(shape), np.zeros(shape, np.int64)

    def _add_batch(
        self, step_type: np.ndarray, next_step_type: np.ndarray, reward: np.ndarray
    ) -> None:
        live = step_type != StepType.LAST
        first = step_type == StepType.FIRST
        if first.any():
            self._return[first] = 0
            self._length[first] = 0
        np.add(self._return, reward, out=self._return, where=live)
        self._length += live
        self._steps += int(np.count_nonzero(live))
        ended = live & (next_step_type == StepType.LAST)
        if ended.any():
            self._ended.extend(
                zip(self._return[ended].tolist(), self._length[ended].tolist(), strict=True)
            )
            self._episodes += int(np.count_nonzero(ended))
            self._return[ended] = 0
            self._length[ended] = 0
