"""Metrics of a stream of rows: pure ones for scans, and an observer that hosts them beside a
driver.
"""

if "." not in __name__:
    raise ImportError(f"import jax_agents.{__name__} instead of {__name__}")

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
