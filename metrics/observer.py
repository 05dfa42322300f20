"""Metrics on the host: an observer for drivers that costs about a microsecond per row."""

import numpy as np

from ..envs.types import Trajectory
from .episode_log import EpisodeLog
from .metrics import EpisodeRecord, Metric


class MetricObserver:
    """Hosts one or several metrics as an observer of rows.

    It keeps in NumPy (float64), by an `EpisodeLog`, the record that `Metric.update` keeps on a
    device, once for all its metrics. Rows are unbatched or `[n]`, NumPy or JAX arrays.

        >>> from jax_agents.metrics import AverageReturn, EnvironmentSteps, MetricObserver
        >>> observer = MetricObserver(AverageReturn(), EnvironmentSteps())
        >>> observer.result()
        {'AverageReturn': 0.0, 'EnvironmentSteps': 0}

    Args:
      metrics: Metrics to host, of different names.

    Raises:
      ValueError: if there is no metric or two of one name; on a call, see `EpisodeLog`.
    """

    def __init__(self, *metrics: Metric):
        names = [metric.name for metric in metrics]
        if not metrics or len(set(names)) < len(names):
            raise ValueError(
                f"MetricObserver needs metrics with names of their own, got {names}; "
                "use an observer for each"
            )
        self.metrics = metrics
        self.name = ", ".join(names)
        self._log = EpisodeLog(max(metric.buffer_size for metric in metrics))

    def reset(self) -> None:
        """Forgets everything, as if no row had been seen."""
        self._log.reset()

    def __call__(self, row: Trajectory) -> None:
        """Counts one row, or one `[n]` batch of rows."""
        self._log(row)

    def record(self, buffer_size: int | None = None) -> EpisodeRecord:
        """Returns a copy of the record, in NumPy.

        Args:
          buffer_size: Number of the last episodes in it; None for all that the metrics keep.

        Raises:
          ValueError: if the metrics keep fewer.
        """
        most = max(metric.buffer_size for metric in self.metrics)
        buffer_size = most if buffer_size is None else buffer_size
        if buffer_size > most:
            raise ValueError(
                f"record: expected buffer_size <= {most}, the largest of the metrics, got "
                f"{buffer_size}"
            )
        returns, lengths = self._log.last(buffer_size)
        episode_return, episode_length = self._log.unfinished
        empty = buffer_size - len(returns)
        return EpisodeRecord(
            episode_return=episode_return,
            episode_length=episode_length,
            returns=np.pad(returns, (0, empty)),
            lengths=np.pad(lengths, (0, empty)),
            steps=np.int64(self._log.num_steps),
            episodes=np.int64(self._log.num_episodes),
        )

    def result(self) -> float | int | dict[str, float | int]:
        """Returns the value of the metric, or of several metrics a dict by name.

        It is 0 where a metric is about episodes and none has ended.
        """
        values = {
            metric.name: metric.result(self.record(metric.buffer_size)).item()
            for metric in self.metrics
        }
        return values if len(values) > 1 else values[self.name]
