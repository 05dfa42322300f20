"""The loops behind a trainer: a Python loop over a host environment, and a scan over a JAX one."""

from .actors import ActorsRunner
from .cloning import OfflineRunner, offline_loop
from .device import DeviceRunner, device_loop
from .evolution import EvolutionRunner
from .factory import check_runner, choose_replay, make_replay, make_runner, resolve_replay
from .loop import LoopRunner
from .protocol import Episodes, Progress, Runner
from .vmapped import VmappedRuns
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
    "VmappedRuns",
    "Worker",
    "check_runner",
    "choose_replay",
    "device_loop",
    "make_replay",
    "make_runner",
    "offline_loop",
    "resolve_replay",
]
