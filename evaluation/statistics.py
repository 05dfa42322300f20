"""Statistics over seeds: interquartile means with bootstrap intervals, after Agarwal et al. (2021).

Source: "Deep Reinforcement Learning at the Edge of the Statistical Precipice", NeurIPS 2021,
arXiv:2108.13264, section 4.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..envs.types import Array


def interquartile_mean(scores: Array, axis: int | None = None) -> Any:
    """Returns the mean of the middle half of the scores.

    A quarter of the values, rounded down, is dropped at either end; of fewer than 4 values, none.

        >>> float(interquartile_mean([0, 1, 2, 3, 4, 5, 6, 1000]))
        3.5

    Args:
      scores: Scores of any shape.
      axis: Axis to average over; None for all values.

    Raises:
      ValueError: if there are no scores, or some are not finite.
    """
    scores = _checked(scores)
    values = np.sort(scores.ravel() if axis is None else np.moveaxis(scores, axis, 0), axis=0)
    cut = values.shape[0] // 4
    return values[cut : values.shape[0] - cut].mean(axis=0)


def stratified_bootstrap_interval(
    scores: Array,
    statistic: Callable[[np.ndarray], Any] = interquartile_mean,
    confidence: float = 0.95,
    repetitions: int = 2000,
    seed: int = 0,
) -> tuple[Any, Any]:
    """Returns the ends (low, high) of a percentile bootstrap interval of a statistic.

    Runs are resampled with replacement, in each task by itself.

    Args:
      scores: Scores `[runs, tasks]`, or `[runs]` of a single task.
      statistic: Function of scores `[runs, tasks]`; its result, and so each end of the interval,
        may be an array.
      confidence: Probability that the interval should cover the true value. With few runs it covers
        less: of normal scores in one task, an interval of 0.95 was seen to cover 0.74 with 3 runs,
        0.91 with 5 or 10 and 0.95 with 20.
      repetitions: Number of resamplings.
      seed: Seed of the resampling: the same seed gives the same interval.

    Raises:
      ValueError: if there are no scores, some are not finite, they have more than 2 axes, or
        `confidence` is not in (0, 1).
    """
    scores = _by_task(scores)
    if not 0 < confidence < 1 or repetitions < 1:
        raise ValueError(
            f"expected 0 < confidence < 1 and repetitions >= 1, got {confidence=}, {repetitions=}"
        )
    rng = np.random.default_rng(seed)
    tasks = np.arange(scores.shape[1])
    draws = [
        statistic(scores[rng.integers(scores.shape[0], size=scores.shape), tasks])
        for _ in range(repetitions)
    ]
    low, high = np.quantile(
        np.asarray(draws, np.float64), [(1 - confidence) / 2, (1 + confidence) / 2], axis=0
    )
    return low, high


def probability_of_improvement(scores_x: Array, scores_y: Array) -> float:
    """Returns the probability that a run of X scores higher than one of Y, averaged over tasks.

    A tie counts half.

        >>> probability_of_improvement([2, 3], [1, 2])
        0.875

    Args:
      scores_x: Scores `[runs, tasks]` or `[runs]` of X.
      scores_y: Scores of Y in the same tasks; the number of runs may differ.

    Raises:
      ValueError: if there are no scores, some are not finite, or the numbers of tasks differ.
    """
    x, y = _by_task(scores_x), _by_task(scores_y)
    if x.shape[1] != y.shape[1]:
        raise ValueError(
            f"expected scores of the same tasks, got {x.shape[1]} and {y.shape[1]} tasks"
        )
    return float(((np.sign(x[:, None] - y[None]) + 1) / 2).mean())


def performance_profile(scores: Array, thresholds: Array) -> np.ndarray:
    """Returns the fraction of runs, averaged over tasks, that score above each threshold.

    Args:
      scores: Scores `[runs, tasks]` or `[runs]`.
      thresholds: Thresholds `[k]`.

    Returns:
      Fractions `[k]`.

    Raises:
      ValueError: if there are no scores, or some are not finite.
    """
    return (_by_task(scores)[..., None] > np.asarray(thresholds)).mean(axis=(0, 1))


def summarize(scores: Array, confidence: float = 0.95, seed: int = 0) -> dict[str, float]:
    """Returns the numbers to report of several seeds' scores.

    Args:
      scores: Scores `[runs]` or `[runs, tasks]`.
      confidence: Confidence of the interval.
      seed: Seed of the bootstrap.

    Returns:
      Dict of floats: the interquartile mean `iqm`, the ends `low` and `high` of its bootstrap
      interval, and `mean`, `min` and `max` of all scores.

    Raises:
      ValueError: if there are no scores, or some are not finite.
    """
    scores = _by_task(scores)
    low, high = stratified_bootstrap_interval(scores, confidence=confidence, seed=seed)
    summary = {"iqm": interquartile_mean(scores), "low": low, "high": high}
    summary |= {"mean": scores.mean(), "min": scores.min(), "max": scores.max()}
    return {name: float(value) for name, value in summary.items()}


def _checked(scores: Array) -> np.ndarray:
    scores = np.asarray(scores, np.float64)
    if scores.size == 0:
        raise ValueError(
            f"expected scores of at least one run, got none (shape {list(scores.shape)})"
        )
    if not np.isfinite(scores).all():
        wrong = int((~np.isfinite(scores)).sum())
        raise ValueError(
            f"{wrong} of {scores.size} scores are NaN or infinite; leave failed runs out on "
            "purpose, or give them a score"
        )
    return scores


def _by_task(scores: Array) -> np.ndarray:
    scores = _checked(scores)
    if scores.ndim not in (1, 2):
        raise ValueError(f"expected scores [runs] or [runs, tasks], got shape {list(scores.shape)}")
    return scores.reshape(scores.shape[0], -1)
