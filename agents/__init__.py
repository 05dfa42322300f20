"""Agents: what to learn. Frozen descriptions; their methods are pure functions of a
`TrainState`.
"""

from . import losses, reductions, returns
from .a2c import A2cAgent
from .agent import Agent, LossInfo, Shard, TrainState
from .bc import BehavioralCloningAgent
from .categorical import CategoricalDqnAgent
from .discrete_sac import DiscreteSacAgent
from .dqn import DqnAgent
from .es import EsAgent
from .impala import ImpalaAgent
from .on_policy import OnPolicyAgent
from .ppo import PpoAgent
from .quantile import QrDqnAgent
from .rainbow import rainbow
from .recurrent_dqn import RecurrentDqnAgent
from .reinforce import ReinforceAgent
from .sac import SacAgent
from .targets import periodic, polyak
from .td3 import DdpgAgent, Td3Agent

__all__ = [
    "A2cAgent",
    "Agent",
    "BehavioralCloningAgent",
    "CategoricalDqnAgent",
    "DdpgAgent",
    "DiscreteSacAgent",
    "DqnAgent",
    "EsAgent",
    "ImpalaAgent",
    "LossInfo",
    "OnPolicyAgent",
    "PpoAgent",
    "QrDqnAgent",
    "RecurrentDqnAgent",
    "ReinforceAgent",
    "SacAgent",
    "Shard",
    "Td3Agent",
    "TrainState",
    "losses",
    "periodic",
    "polyak",
    "rainbow",
    "reductions",
    "returns",
]
