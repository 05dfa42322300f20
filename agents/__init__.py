"""Agents: what to learn. Frozen descriptions; their methods are pure functions of a `TrainState`."""

from . import losses, reductions, returns
from .agent import Agent, LossInfo, TrainState, periodic, polyak
from .dqn import DqnAgent

__all__ = ["Agent", "DqnAgent", "LossInfo", "TrainState", "losses", "periodic", "polyak", "reductions", "returns"]
