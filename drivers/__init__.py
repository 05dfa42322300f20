"""Drivers: loops that step environments, in Python, scanned on device, and on Ray actors."""

if "." not in __name__:
    raise ImportError(f"import jax_agents.{__name__} instead of {__name__}")

from .actor import Answer, Failure, Supervision
from .balance import Balance
from .block import Block, BlockWriter
from .collector import Collector
from .driver import Driver
from .episodes import Episodes, play_episodes
from .parallel import ParallelDriver
from .parameter_server import ParameterServer
from .remote_parameter_server import RemoteParameterServer
from .rollout import RolloutState, rollout, start_rollout
from .supervision import ActorError, Supervisor

__all__ = [
    "ActorError",
    "Answer",
    "Balance",
    "Block",
    "BlockWriter",
    "Collector",
    "Driver",
    "Episodes",
    "Failure",
    "ParallelDriver",
    "ParameterServer",
    "RemoteParameterServer",
    "RolloutState",
    "Supervision",
    "Supervisor",
    "play_episodes",
    "rollout",
    "start_rollout",
]
