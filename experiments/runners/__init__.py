"""The loops behind a trainer: a Python loop over a host environment, and a scan over a JAX one."""

from .buffers import choose_replay, make_replay
from .device import JAX_ENVIRONMENTS, DeviceRunner, device_loop, jax_environment
from .loop import LoopRunner
from .runner import Episodes, Progress, Runner

__all__ = [
    "JAX_ENVIRONMENTS",
    "DeviceRunner",
    "Episodes",
    "LoopRunner",
    "Progress",
    "Runner",
    "choose_replay",
    "device_loop",
    "jax_environment",
    "make_replay",
]
