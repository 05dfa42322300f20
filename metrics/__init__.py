"""Metrics of a stream of rows: pure ones for scans, and observers of drivers on the host."""

from .counting import RowCounts, count_rows
from .episode_log import EpisodeLog
from .metrics import (
    AverageEpisodeLength,
    AverageReturn,
    EnvironmentSteps,
    EpisodeRecord,
    MaxReturn,
    Metric,
    MinReturn,
    NumberOfEpisodes,
)
from .observer import MetricObserver

__all__ = [
    "AverageEpisodeLength",
    "AverageReturn",
    "EnvironmentSteps",
    "EpisodeLog",
    "EpisodeRecord",
    "MaxReturn",
    "Metric",
    "MetricObserver",
    "MinReturn",
    "NumberOfEpisodes",
    "RowCounts",
    "count_rows",
]
