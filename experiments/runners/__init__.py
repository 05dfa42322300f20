"""Runners: the loops behind a trainer, on the host, on device and on Ray actors."""

from .actors import ActorsRunner
from .compiled import CompiledRunner, make_loop
from .factory import check_runner, choose_replay, make_replay, make_runner, resolve_replay
from .loop import LoopRunner
from .protocol import Episodes, Progress, Runner, merge
from .vmapped import VmappedRuns
from .worker import Worker

__all__ = [
    "ActorsRunner",
    "CompiledRunner",
    "Episodes",
    "LoopRunner",
    "Progress",
    "Runner",
    "VmappedRuns",
    "Worker",
    "check_runner",
    "choose_replay",
    "make_loop",
    "make_replay",
    "make_runner",
    "merge",
    "resolve_replay",
]
