"""Runs one row of the table of gates: all seeds at once, on device."""

import time
from typing import Any, NamedTuple

import jax
import numpy as np

from ...envs.types import Array
from ...evaluation.returns import evaluate_on_device
from ...evaluation.statistics import summarize
from .table import Gate


class GateResult(NamedTuple):
    """The result of a gate's run.

    Attributes:
      gate: Row of the table.
      scores: Mean returns of greedy episodes, `[num_seeds]`.
      summary: Summary of the scores, from `evaluation.summarize`.
      metrics: Metrics of training, each `[num_seeds, num_reports]`.
      compile_seconds: Seconds to compile.
      train_seconds: Seconds to train and to evaluate.
    """

    gate: Gate
    scores: np.ndarray
    summary: dict[str, float]
    metrics: dict[str, np.ndarray]
    compile_seconds: float
    train_seconds: float

    @property
    def passed(self) -> bool:
        """True if the interval's lower end reaches the gate and every seed the floor."""
        return self.summary["low"] >= self.gate.gate and self.summary["min"] >= self.gate.floor

    def __str__(self) -> str:
        s = self.summary
        gate = self.gate
        return (
            f"{gate.name}: IQM {s['iqm']:.1f} [{s['low']:.1f}, {s['high']:.1f}], worst "
            f"{s['min']:.1f}; gate {gate.gate:g}, "
            f"floor {gate.floor:g}; {len(self.scores)} seeds, {gate.steps:,} steps each, "
            f"{self.train_seconds:.0f} s + "
            f"{self.compile_seconds:.0f} s to compile: {'passed' if self.passed else 'FAILED'}"
        )


def run_gate(
    gate: Gate,
    seed: int = 0,
    *,
    num_seeds: int | None = None,
    num_episodes: int = 100,
    num_reports: int = 10,
) -> GateResult:
    """Trains every seed of a gate under one `vmap`, then plays greedy episodes with each.

    Args:
      gate: Row of the table.
      seed: Seed of all runs.
      num_seeds: Number of runs; None for the row's own.
      num_episodes: Number of greedy episodes that each run plays at its end.
      num_reports: Number of equal parts of training over which metrics are averaged.
    """
    loop = gate.make_loop()

    def experiment(key: Array) -> tuple[Array, Any]:
        train_key, evaluation_key = jax.random.split(key)
        state, metrics = loop.run(loop.init(train_key), gate.num_iterations, num_reports)
        params = loop.agent.policy_params(state.train)
        return evaluate_on_device(
            loop.env, loop.agent.policy, params, evaluation_key, num_episodes
        ).mean(), metrics

    keys = jax.random.split(jax.random.key(seed), num_seeds or gate.num_seeds)
    start = time.perf_counter()
    compiled = jax.jit(jax.vmap(experiment)).lower(keys).compile()
    compiled_at = time.perf_counter()
    scores, metrics = jax.device_get(compiled(keys))
    end = time.perf_counter()
    return GateResult(
        gate, scores, summarize(scores), metrics, compiled_at - start, end - compiled_at
    )
