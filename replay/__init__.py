"""Replay: `HostReplay` in this process, `ReverbReplay` on a Reverb server, `DeviceReplay` inside a scan."""

import importlib.util
from typing import Any

from .device import DeviceReplay, DeviceReplayState
from .host import HostReplay
from .packing import RowLayout
from .replay import Observer, Replay

# ReverbReplay is left out, so that `from jax_agents.replay import *` works where Reverb is not installed.
__all__ = ["DeviceReplay", "DeviceReplayState", "HostReplay", "Observer", "Replay", "RowLayout", "has_reverb"]


def has_reverb() -> bool:
    """True where Reverb is installed; it is not imported (which takes seconds)."""
    return importlib.util.find_spec("reverb") is not None


def __getattr__(name: str) -> Any:
    """`ReverbReplay`, imported when it is first asked for."""
    if name != "ReverbReplay":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if not has_reverb():
        raise ImportError(
            'ReverbReplay needs Reverb, which is not installed: pip install "jax-agents[reverb]" (Linux x86-64, Python 3.11); '
            "HostReplay takes the same arguments and needs nothing"
        )
    from .reverb import ReverbReplay

    return ReverbReplay
