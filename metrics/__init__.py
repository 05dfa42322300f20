"""Metrics of a stream of rows: pure ones for scans, and observers of drivers on the host."""

if "." not in __name__:
    raise ImportError(f"import jax_agents.{__name__} instead of {__name__}")

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
