"""Metrics of a stream of rows: pure ones for scans, and an observer that hosts them beside a
driver.
"""

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
    "EpisodeRecord",
    "MaxReturn",
    "Metric",
    "MetricObserver",
    "MinReturn",
    "NumberOfEpisodes",
]
