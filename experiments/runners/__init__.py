"""The loops behind a trainer: a Python loop over a host environment, and a scan over a JAX one."""

from .actors import ActorsRunner
from .choice import check_runner, choose_replay, make_replay, make_runner, replay_of
from .device import DeviceRunner, device_loop
from .evolution import EvolutionRunner
from .loop import LoopRunner
from .offline import OfflineRunner, offline_loop
from .runner import Episodes, Progress, Runner
from .together import Together
from .worker import Worker

__all__ = [
    "ActorsRunner",
    "DeviceRunner",
    "Episodes",
    "EvolutionRunner",
    "LoopRunner",
    "OfflineRunner",
    "Progress",
    "Runner",
    "Together",
    "Worker",
    "check_runner",
    "choose_replay",
    "device_loop",
    "make_replay",
    "make_runner",
    "offline_loop",
    "replay_of",
]
