"""Evaluation: returns and videos of a policy, statistics over seeds, learning curves."""

if "." not in __name__:
    raise ImportError(f"import jax_agents.{__name__} instead of {__name__}")

from .plots import plot_learning_curve
from .returns import EndlessEpisode, compute_avg_return, compute_returns, evaluate_on_device
from .statistics import (
    interquartile_mean,
    performance_profile,
    probability_of_improvement,
    stratified_bootstrap_interval,
    summarize,
)
from .video import create_policy_eval_video, embed_mp4

__all__ = [
    "EndlessEpisode",
    "compute_avg_return",
    "compute_returns",
    "create_policy_eval_video",
    "embed_mp4",
    "evaluate_on_device",
    "interquartile_mean",
    "performance_profile",
    "plot_learning_curve",
    "probability_of_improvement",
    "stratified_bootstrap_interval",
    "summarize",
]
