"""The reports of a trainer, and the numbers at which a run stops."""

import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...agents.agent import TrainState
from ...learners.checks import NonFiniteError, check_finite
from ..configs.base import Config
from ..configs.checking import nearest
from ..runners import Episodes, Progress

STEPS = "num_env_steps_sampled_lifetime"
RESULT_KEYS = (
    "training_iteration",
    STEPS,
    "num_updates_lifetime",
    "num_episodes_lifetime",
    "episode_return_mean",
    "episode_return_max",
    "episode_return_min",
    "episode_len_mean",
    "loss",
    "steps_per_second",
    "time_this_iter_s",
    "time_total_s",
    "timestamp",
)
RECENT_EPISODES = 20


def make_report(
    counters: Mapping[str, Any], recent: list[Episodes], steps: int, seconds: float
) -> dict[str, Any]:
    """Returns a report without the agent's metrics.

    Args:
      counters: `training_iteration`, `num_steps`, `num_updates`, `num_episodes` and `time_total`
        so far.
      recent: Episodes to average over.
      steps: Number of environment steps since the last report.
      seconds: Number of seconds that those steps took.
    """
    means = [(one.mean, one.number) for one in recent]
    lengths = [(one.length, one.number) for one in recent if one.length is not None]
    highest = [one.mean if one.highest is None else one.highest for one in recent]
    lowest = [one.mean if one.lowest is None else one.lowest for one in recent]
    return {
        "training_iteration": counters["training_iteration"],
        STEPS: counters["num_steps"],
        "num_updates_lifetime": counters["num_updates"],
        "num_episodes_lifetime": counters["num_episodes"],
        "episode_return_mean": _mean(means),
        "episode_return_max": finite(max(highest, default=None)),
        "episode_return_min": finite(min(lowest, default=None)),
        "episode_len_mean": _mean(lengths),
        "loss": None,
        "steps_per_second": round(steps / seconds, 1),
        "time_this_iter_s": round(seconds, 4),
        "time_total_s": round(counters["time_total"], 4),
        "timestamp": round(time.time(), 3),
    }


def metrics_to_report(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """The agent's metrics, with None for what JSON cannot hold; warns if that is the loss."""
    if "loss" in metrics and finite(metrics["loss"]) is None:
        warnings.warn(
            f"the loss is {metrics['loss']}, so the weights are no longer finite numbers: look for "
            "observations or rewards that are not finite or very large, or lower learning_rate",
            RuntimeWarning,
            stacklevel=2,
        )
    return {name: finite(value) for name, value in metrics.items()}


class Watch:
    """Watches over updates, and says when they are no longer finite.

    An update that is not finite may be one that the optimizer leaves out (`optax.apply_if_finite`).
    Parameters that are not finite stay so.

    Args:
      patience: Number of successive updates of which a loss or a gradient is not finite, after
        which training is given up although the parameters are finite.
    """

    def __init__(self, patience: int = 100):
        self.patience = patience
        self._bad = 0

    def check(self, progress: Progress, state: Callable[[], TrainState]) -> None:
        """Raises a NonFiniteError if there is no use in training on.

        Args:
          progress: Newest progress.
          state: Function that returns the agent's state, called only where a metric is not finite.
        """
        numbers = [
            progress.metrics[name] for name in ("loss", "grad_norm") if name in progress.metrics
        ]
        if all(np.isfinite(numbers)):
            self._bad = 0 if numbers else self._bad
            return
        self._bad += progress.num_updates
        check_finite(vars(state()), "training is given up")
        if self._bad >= self.patience:
            raise NonFiniteError(
                f"training is given up: the losses or gradients of the last {self._bad} updates "
                "are not finite. Look for observations or rewards that are not finite or very "
                "large, or lower the learning rate"
            )


def stop_of(stop: Mapping[str, float] | None, num_steps: int) -> dict[str, float]:
    """Returns the numbers that end a run: `stop`, checked, or `num_steps` steps if it is None.

    Raises:
      ValueError: As from `check_stop`.
    """
    return {STEPS: num_steps} if stop is None else check_stop(stop)


def warn_of_end(config: Config, num_steps: float) -> None:
    """Warns if training for this many steps goes on after a rate has fallen to 0.

    Args:
      config: Configuration of the run.
      num_steps: Number of environment steps to train for, all in all.
    """
    end = config.learns_until
    if end is not None and num_steps > end:
        goal = "on and on" if np.isinf(num_steps) else f"for {num_steps:,.0f} steps"
        warnings.warn(
            f"training {goal}, but with this configuration a rate falls to 0 at {end:,} steps, "
            "after which nothing is learned: set num_steps (and learning_rate_steps, if it is "
            "given) to the length of the training, or let the rate end above 0 "
            "(learning_rate_end, clip_ratio_end)",
            UserWarning,
            stacklevel=3,
        )


def check_stop(stop: Mapping[str, float]) -> dict[str, float]:
    """Returns `stop` as a dict, if each key is one of `RESULT_KEYS` and each value a number.

    Raises:
      ValueError: if not; the message has the nearest keys.
    """
    for key, value in stop.items():
        if key not in RESULT_KEYS:
            raise ValueError(f"stop: no result {key!r}; {nearest(key, RESULT_KEYS)}")
        if isinstance(value, bool) or not isinstance(value, int | float) or np.isnan(value):
            raise ValueError(f"stop {key}: expected a number, got {value!r}")
    if not stop:
        raise ValueError(f"stop: expected at least one of {', '.join(RESULT_KEYS)}")
    return dict(stop)


def reached(stop: Mapping[str, float], result: Mapping[str, Any] | None) -> bool:
    """Returns true if a result has reached one of the numbers of `stop`."""
    return result is not None and any(
        result[key] is not None and result[key] >= value for key, value in stop.items()
    )


def newest(episodes: list[Episodes]) -> list[Episodes]:
    """Returns the last episodes: at least `RECENT_EPISODES`, or all if there are fewer."""
    kept = []
    count = 0
    for episode in reversed(episodes):
        if count >= RECENT_EPISODES:
            break
        kept.append(episode)
        count += episode.number
    return kept[::-1]


def _mean(values: list[tuple[float, int]]) -> float | None:
    total = sum(count for _, count in values)
    return finite(sum(value * count for value, count in values) / total if total else None)


def finite(value: float | None) -> float | None:
    """Returns the value, or None for a value that JSON cannot hold."""
    return value if value is not None and np.isfinite(value) else None
