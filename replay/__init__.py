"""Replay buffers and queues of experience, in this process, on device, and on Reverb servers.

`HostReplay` keeps rows in this process, `DeviceReplay` inside a scan, `ReverbReplay` and
`RemoteReplay` on Reverb servers. `HostQueue` and `ReverbQueue` hand out on-policy experience.
"""

if "." not in __name__:
    raise ImportError(f"import jax_agents.{__name__} instead of {__name__}")

from typing import Any

from .device.frame_stack import FrameStackDeviceReplay
from .device.replay import DeviceReplay, DeviceReplayState
from .host.frame_stack import FrameStackReplay
from .host.replay import HostReplay
from .importing import Episode, add_rows, from_episodes, from_transitions
from .packing import RowLayout
from .queues.host import HostQueue
from .queues.queue import ExperienceQueue
from .remote import RemoteReplay, ReverbClient
from .replay import Observer, PrioritisedReplay, Replay, ReplayBuffer
from .reverb.runtime import has_reverb

# ReverbReplay and ReverbQueue are left out, so that `from jax_agents.replay import *` works where
# Reverb is not installed.
__all__ = [
    "DeviceReplay",
    "DeviceReplayState",
    "Episode",
    "ExperienceQueue",
    "FrameStackDeviceReplay",
    "FrameStackReplay",
    "HostQueue",
    "HostReplay",
    "Observer",
    "PrioritisedReplay",
    "RemoteReplay",
    "Replay",
    "ReplayBuffer",
    "ReverbClient",
    "RowLayout",
    "add_rows",
    "from_episodes",
    "from_transitions",
    "has_reverb",
]


def __getattr__(name: str) -> Any:
    """Returns `ReverbReplay` or `ReverbQueue`, imported when they are first used.

    Raises:
      ImportError: Reverb is not installed.
    """
    if name not in ("ReverbReplay", "ReverbQueue"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if not has_reverb():
        raise ImportError(
            f'{name} needs Reverb, which is not installed: pip install "jax-agents[reverb]" (Linux '
            "x86-64, Python 3.11); "
            f"{name.replace('Reverb', 'Host')} takes the same arguments and needs nothing"
        )
    from .reverb.queue import ReverbQueue
    from .reverb.replay import ReverbReplay

    return ReverbQueue if name == "ReverbQueue" else ReverbReplay
