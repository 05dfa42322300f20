"""Agents: frozen descriptions of algorithms, with methods that are pure functions of a state.

For an agent of your own (docs/extend.md): derive from `OffPolicyAgent`, `ValueBasedAgent`,
`ActorCriticAgent` or `OnPolicyAgent`, or write the methods of `Agent` with `init_state` and
`apply_loss`.
"""

if "." not in __name__:
    raise ImportError(f"import jax_agents.{__name__} instead of {__name__}")

from . import losses, reductions, returns
from .a2c import A2cAgent
from .actor_critic import ActorCriticAgent, sample_and_log_prob
from .agent import (
    Agent,
    LossInfo,
    Shard,
    Shards,
    TrainState,
    apply_loss,
    example_keys,
    init_state,
    warm_up_policy,
    weighted_mean,
)
from .bc import BehavioralCloningAgent
from .categorical import CategoricalDqnAgent
from .checks import check_experience
from .discrete_sac import DiscreteSacAgent
from .dqn import DqnAgent
from .es import EsAgent
from .examples import Examples
from .impala import ImpalaAgent
from .off_policy import OffPolicyAgent
from .on_policy import OnPolicyAgent
from .ppo import PpoAgent
from .quantile import QrDqnAgent
from .rainbow import rainbow
from .recurrent_dqn import RecurrentDqnAgent
from .reinforce import ReinforceAgent
from .sac import SacAgent
from .step_schedules import OfSteps, scale_by_steps
from .targets import TargetUpdate, delayed, periodic, polyak
from .td3 import DdpgAgent, Td3Agent
from .value_based import ValueBasedAgent, ValueExample

__all__ = [
    "A2cAgent",
    "ActorCriticAgent",
    "Agent",
    "BehavioralCloningAgent",
    "CategoricalDqnAgent",
    "DdpgAgent",
    "DiscreteSacAgent",
    "DqnAgent",
    "EsAgent",
    "Examples",
    "ImpalaAgent",
    "LossInfo",
    "OfSteps",
    "OffPolicyAgent",
    "OnPolicyAgent",
    "PpoAgent",
    "QrDqnAgent",
    "RecurrentDqnAgent",
    "ReinforceAgent",
    "SacAgent",
    "Shard",
    "Shards",
    "TargetUpdate",
    "Td3Agent",
    "TrainState",
    "ValueBasedAgent",
    "ValueExample",
    "apply_loss",
    "check_experience",
    "delayed",
    "example_keys",
    "init_state",
    "losses",
    "periodic",
    "polyak",
    "rainbow",
    "reductions",
    "returns",
    "sample_and_log_prob",
    "scale_by_steps",
    "warm_up_policy",
    "weighted_mean",
]
