"""Drivers: a Python loop over a host environment, the same step scanned on device, whole episodes
there, and Ray actors.
"""

if "." not in __name__:
    raise ImportError(f"import jax_agents.{__name__} instead of {__name__}")

from .actor import Answer, Failure
from .balance import Balance
from .collector import Block, Collector
from .driver import Driver
from .episodes import Episodes, play_episodes
from .parallel import BlockWriter, ParallelDriver
from .parameter_server import ParameterServer, RemoteParameterServer
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
    "Supervisor",
    "play_episodes",
    "rollout",
    "start_rollout",
]
