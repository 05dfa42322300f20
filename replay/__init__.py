"""Replay: `HostReplay` in this process, `ReverbReplay` on a Reverb server, `DeviceReplay` inside a
scan. Queues of on-policy experience: `HostQueue` and `ReverbQueue`."""

if "." not in __name__:
    raise ImportError(f"import jax_agents.{__name__} instead of {__name__}")

import importlib.util
from typing import Any

from .device.frame_stack import FrameStackDeviceReplay
from .device.replay import DeviceReplay, DeviceReplayState
from .host.frame_stack import FrameStackReplay
from .host.replay import HostReplay
from .packing import RowLayout
from .queues.host import HostQueue
from .queues.queue import ExperienceQueue
from .remote import RemoteReplay, ReverbClient
from .replay import Observer, Replay

# ReverbReplay and ReverbQueue are left out, so that `from jax_agents.replay import *` works where
# Reverb is not installed.
__all__ = [
    "DeviceReplay",
    "DeviceReplayState",
    "ExperienceQueue",
    "FrameStackDeviceReplay",
    "FrameStackReplay",
    "HostQueue",
    "HostReplay",
    "Observer",
    "RemoteReplay",
    "Replay",
    "ReverbClient",
    "RowLayout",
    "has_reverb",
]


def has_reverb() -> bool:
    """True where Reverb is installed; it is not imported (which takes seconds)."""
    return importlib.util.find_spec("reverb") is not None


def __getattr__(name: str) -> Any:
    """`ReverbReplay` and `ReverbQueue`, imported when they are first asked for."""
    if name not in ("ReverbReplay", "ReverbQueue"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if not has_reverb():
        raise ImportError(
            f'{name} needs Reverb, which is not installed: pip install "jax-agents[reverb]" (Linux x86-64, Python 3.11); '
            f"{name.replace('Reverb', 'Host')} takes the same arguments and needs nothing"
        )
    if name == "ReverbQueue":
        from .queues.reverb import ReverbQueue

        return ReverbQueue
    from .reverb.replay import ReverbReplay

    return ReverbReplay
