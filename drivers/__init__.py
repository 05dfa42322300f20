"""Drivers: a Python loop over a host environment, the same step scanned on device, and whole episodes there."""

from .driver import Driver
from .episodes import Episodes, play_episodes
from .rollout import RolloutState, rollout, start_rollout

__all__ = ["Driver", "Episodes", "RolloutState", "play_episodes", "rollout", "start_rollout"]
