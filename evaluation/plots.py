"""Learning curves as PNG files, without touching matplotlib's global state."""

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from ..envs.types import Array
from .statistics import interquartile_mean, stratified_bootstrap_interval


def plot_learning_curve(
    steps: Array,
    returns: Array | Mapping[str, Array],
    filename: str | os.PathLike[str],
    *,
    title: str = "",
    xlabel: str = "Environment steps",
    ylabel: str = "Average return",
    confidence: float = 0.95,
    repetitions: int = 500,
) -> Path:
    """Draws interquartile means over runs with their bootstrap bands; returns the file's path.

    Args:
      steps: Steps `[points]` at which the returns were measured.
      returns: Returns `[points]` of one run, drawn as a line without a band, or `[runs, points]`;
        a dict of these by name draws one curve for each, with a legend.
      filename: File to write; the suffix (`.png`, `.svg`, `.pdf`) sets the format, and missing
        folders are made.
      title: Title above the plot.
      xlabel: Label of `steps`.
      ylabel: Label of `returns`.
      confidence: Confidence of the band, at each point by itself.
      repetitions: Number of resamplings of the bootstrap.

    Raises:
      ValueError: if there is nothing to draw, or the numbers of points differ.
      ImportError: if matplotlib is missing.
    """
    steps = np.asarray(steps)
    curves = returns if isinstance(returns, Mapping) else {"": returns}
    if steps.ndim != 1 or not steps.size or not curves:
        raise ValueError(
            f"expected steps [points] and at least one curve, got {list(steps.shape)} and "
            f"{len(curves)} curves"
        )
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('plots need matplotlib: pip install "matplotlib"') from error
    figure = Figure(figsize=(8, 5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for label, values in curves.items():
        runs = np.atleast_2d(np.asarray(values, np.float64))
        if runs.ndim != 2 or runs.shape[1] != steps.size:
            wanted = f"[{steps.size}] or [runs, {steps.size}]"
            raise ValueError(
                f"returns {label!r}: expected {wanted} for {steps.size} steps, got "
                f"{list(np.shape(values))}"
            )
        statistic = partial(interquartile_mean, axis=0)
        name = label if runs.shape[0] == 1 else f"{label} ({runs.shape[0]} runs)".strip()
        single_point = "o" if steps.size == 1 else None
        (line,) = axes.plot(steps, statistic(runs), label=name, linewidth=2, marker=single_point)
        if runs.shape[0] > 1:
            low, high = stratified_bootstrap_interval(runs, statistic, confidence, repetitions)
            axes.fill_between(steps, low, high, color=line.get_color(), alpha=0.25, linewidth=0)
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
    axes.grid(alpha=0.3)
    axes.margins(x=0.02)
    if isinstance(returns, Mapping):
        axes.legend()
    path = Path(filename)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path
