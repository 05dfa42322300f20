"""Agents: what to learn. Frozen descriptions; their methods are pure functions of a `TrainState`."""

from . import losses, reductions, returns
from .agent import Agent, LossInfo, TrainState, periodic, polyak
from .dqn import DqnAgent
from .sac import SacAgent
from .td3 import DdpgAgent, Td3Agent

__all__ = [
    "Agent",
    "DdpgAgent",
    "DqnAgent",
    "LossInfo",
    "SacAgent",
    "Td3Agent",
    "TrainState",
    "losses",
    "periodic",
    "polyak",
    "reductions",
    "returns",
]
