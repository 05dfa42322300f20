"""The result of a sweep: its trials as rows, the best of them, their checkpoints and curves."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ...learners.checkpoints import Checkpointer
from ..configs.base import Config
from ..trained import run_folder
from ..trained.agent import TrainedAgent

Mode = Literal["max", "min"]
_STEPS = "num_env_steps_sampled_lifetime"
_RETURN = "episode_return_mean"
_NOT_SAVED = (
    "trial {}: nothing was saved; give the sweep a folder, as in run_sweep(..., folder='sweep')"
)


@dataclasses.dataclass(frozen=True, eq=False)
class Trial:
    """One run of a sweep.

    Attributes:
      label: Label that sets the trial apart; the path of its folder within the sweep's.
      run: Name of the algorithm.
      env: Environment, as `Trainer` takes it.
      seed: Seed of the run.
      runner: Name of the runner.
      config: All settings, as JSON has them, with this trial's values of those that are varied.
      results: Reports of the run.
      folder: Run folder; None if nothing was saved.
    """

    label: str
    run: str
    env: Any
    seed: int
    runner: str
    config: Mapping[str, Any]
    results: Sequence[Mapping[str, Any]]
    folder: Path | None = None

    @property
    def variant(self) -> str:
        """The label without the seed: the same for all seeds of a configuration."""
        variant, has_seed, _ = self.label.rpartition("seed_")
        return variant.rstrip("_/") or "all seeds" if has_seed else self.label

    def last(self, metric: str = _RETURN) -> float | None:
        """The metric's last value that is a number; None if there is none."""
        return next(
            (result[metric] for result in reversed(self.results) if _is_number(result.get(metric))),
            None,
        )

    def curve(self, metric: str = _RETURN) -> list[tuple[float, float]]:
        """Environment steps and values, of the reports that have one."""
        return [
            (result[_STEPS], result[metric])
            for result in self.results
            if _is_number(result.get(metric))
        ]

    def checkpoints(self, metric: str = _RETURN) -> list[list[Any]]:
        """Returns `[path, metric]` of each checkpoint that was kept, the oldest first.

        Args:
          metric: Key of the reports; the value is None where the checkpoint's report has no number.

        Raises:
          ValueError: if the trial has no folder.
        """
        if self.folder is None:
            raise ValueError(_NOT_SAVED.format(self.label))
        checkpointer = Checkpointer(self.folder / run_folder.CHECKPOINTS)
        values = {result["training_iteration"]: result.get(metric) for result in self.results}
        return [[checkpointer.path(step), values.get(step)] for step in checkpointer.steps()]

    def load(
        self,
        checkpoint: str | os.PathLike[str] | None = None,
        env: Any = None,
        config: Config | None = None,
    ) -> TrainedAgent:
        """The trained agent, to act with, look into and evaluate.

        Args:
          checkpoint: One of `checkpoints`; None for the newest.
          env: Environment to act in, if the sweep's has no name; None for the sweep's.
          config: Configuration, if its class cannot be imported; None for the trial's.

        Raises:
          ValueError: if the trial has no folder, or its configuration cannot be imported.
          FileNotFoundError: if it has no such checkpoint.
        """
        path = self.folder if checkpoint is None else checkpoint
        if path is None:
            raise ValueError(_NOT_SAVED.format(self.label))
        if env is None and not isinstance(self.env, str):  # a name is in the folder
            env = self.env
        return TrainedAgent.load(path, env, config)


class Analysis:
    """The trials of a sweep; `print` shows them as a table.

    Args:
      trials: Trials, at least one.

    Raises:
      ValueError: without a trial.
    """

    def __init__(self, trials: Sequence[Trial]):
        if not trials:
            raise ValueError("Analysis: expected at least one trial")
        self.trials = tuple(trials)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "Analysis":
        """Reads the folder of a sweep, of Ray Tune, or of several runs of `jax-agents train`.

        Raises:
          RunFolderError: if there is no run in the folder, or its files are damaged.
        """
        folder = Path(folder).absolute()
        if (
            folder / "tuner.pkl"
        ).exists():  # beside the runs are folders of Tune's own, with files of the same names
            folder = folder / "runs"
        paths = sorted(path.parent for path in folder.rglob(run_folder.PARAMS))
        if not paths:
            raise run_folder.RunFolderError(
                f"{folder}: there is no run in it, since no folder in it has a {run_folder.PARAMS}"
            )
        return cls([_load(folder, path) for path in paths])

    def best_trial(self, metric: str = _RETURN, mode: Mode = "max") -> Trial:
        """The trial whose metric ended best; it may just have had a lucky seed (see `best_config`).

        Raises:
          ValueError: no trial has the metric, or the mode is none.
        """
        return self._best({trial: trial.last(metric) for trial in self.trials}, metric, mode)

    def best_config(self, metric: str = _RETURN, mode: Mode = "max") -> Mapping[str, Any]:
        """The settings whose metric ended best on average over their seeds."""
        values: dict[str, list[float]] = {}
        for trial in self.trials:
            value = trial.last(metric)
            if value is not None:
                values.setdefault(trial.variant, []).append(value)
        means = {
            trial: float(np.mean(values[trial.variant])) if trial.variant in values else None
            for trial in self.trials
        }
        return self._best(means, metric, mode).config

    def varied(self) -> list[str]:
        """The settings in which the trials differ."""
        first = self.trials[0].config
        return [
            key
            for key in first
            if any(trial.config.get(key) != first[key] for trial in self.trials)
        ]

    def rows(
        self, metrics: Sequence[str] = (_STEPS, _RETURN, "loss", "time_total_s")
    ) -> list[dict[str, Any]]:
        """Returns a dict for each trial: `trial`, `seed`, varied settings and last metrics.

        Args:
          metrics: Keys of the reports.
        """
        varied = self.varied()
        return [
            {"trial": trial.label, "seed": trial.seed}
            | {key: trial.config.get(key) for key in varied}
            | {metric: trial.last(metric) for metric in metrics}
            for trial in self.trials
        ]

    def plot(self, filename: str | os.PathLike[str], metric: str = _RETURN) -> Path:
        """Draws each configuration's curve, with a band over seeds; see `plot_learning_curve`.

        Raises:
          ValueError: no trial has the metric, or they have no steps in common.
        """
        from ...evaluation import plot_learning_curve

        curves: dict[str, list[list[tuple[float, float]]]] = {}
        for trial in self.trials:
            if trial.curve(metric):
                curves.setdefault(trial.variant, []).append(trial.curve(metric))
        if not curves:
            raise ValueError(
                f"no trial has numbers of {metric!r}; results have {', '.join(self._metrics())}"
            )
        return plot_learning_curve(*on_common_steps(curves), filename, ylabel=metric)

    def __str__(self) -> str:
        in_labels = {
            "seed",
            *(
                key
                for key in self.varied()
                if all(f"{key}=" in trial.label for trial in self.trials)
            ),
        }
        rows = [
            {key: _cell(value) for key, value in row.items() if key not in in_labels}
            for row in self.rows()
        ]
        widths = {key: max(len(key), *(len(row[key]) for row in rows)) for key in rows[0]}
        lines = ["  ".join(key.ljust(width) for key, width in widths.items()).rstrip()]
        lines += [
            "  ".join(row[key].ljust(width) for key, width in widths.items()).rstrip()
            for row in rows
        ]
        if any(trial.last() is not None for trial in self.trials):
            best = self.best_trial()
            lines.append(f"best: {best.label or best.run}, {_RETURN} {_cell(best.last())}")
        return "\n".join(lines)

    def _best(self, values: Mapping[Trial, float | None], metric: str, mode: Mode) -> Trial:
        if mode not in ("max", "min"):
            raise ValueError(f"mode: expected 'max' or 'min', got {mode!r}")
        known = {
            trial: value if mode == "max" else -value
            for trial, value in values.items()
            if value is not None
        }
        if not known:
            raise ValueError(
                f"no trial has numbers of {metric!r}; results have {', '.join(self._metrics())}"
            )
        return max(known, key=lambda trial: known[trial])

    def _metrics(self) -> list[str]:
        return list(
            dict.fromkeys(
                key for trial in self.trials for result in trial.results for key in result
            )
        )


def on_common_steps(
    curves: Mapping[str, Sequence[Sequence[tuple[float, float]]]], num_points: int = 200
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Interpolates curves, whose points lie at steps of their own, at steps that all runs have.

    Args:
      curves: Runs by name; a run is a sequence of points (step, value), by step.
      num_points: Number of points of each result.

    Returns:
      Steps `[num_points]`, and values `[runs, num_points]` by name, as `plot_learning_curve` takes
      them.

    Raises:
      ValueError: if the runs have no steps in common.
    """
    every = [run for runs in curves.values() for run in runs]
    first = max(run[0][0] for run in every)
    last = min(run[-1][0] for run in every)
    if first > last:
        raise ValueError(
            "these runs have no steps in common: "
            f"one starts at {first:,} where another has ended, at {last:,}"
        )
    steps = np.linspace(first, last, num_points)
    return steps, {
        name: np.stack([np.interp(steps, *np.transpose(run)) for run in runs])
        for name, runs in curves.items()
    }


def _load(parent: Path, folder: Path) -> Trial:
    params = run_folder.read_params(folder)
    label = "" if folder == parent else folder.relative_to(parent).as_posix()
    results = run_folder.read_results(folder)
    return Trial(
        label,
        params["run"],
        params["env"],
        params["seed"],
        params["runner"],
        params["config"],
        results,
        folder,
    )


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))
    )


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
