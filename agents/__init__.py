"""Agents: what to learn. Frozen descriptions; their methods are pure functions of a `TrainState`."""

from . import losses, reductions, returns
from .agent import Agent, LossInfo, TrainState, periodic, polyak
from .categorical import CategoricalDqnAgent
from .discrete_sac import DiscreteSacAgent
from .dqn import DqnAgent
from .on_policy import OnPolicyAgent
from .ppo import PpoAgent
from .quantile import QrDqnAgent
from .recurrent_dqn import RecurrentDqnAgent
from .sac import SacAgent
from .td3 import DdpgAgent, Td3Agent

__all__ = [
    "Agent",
    "CategoricalDqnAgent",
    "DdpgAgent",
    "DiscreteSacAgent",
    "DqnAgent",
    "LossInfo",
    "OnPolicyAgent",
    "PpoAgent",
    "QrDqnAgent",
    "RecurrentDqnAgent",
    "SacAgent",
    "Td3Agent",
    "TrainState",
    "losses",
    "periodic",
    "polyak",
    "reductions",
    "returns",
]
