"""Drivers: a Python loop over a host environment, and the same step scanned on device."""

from .driver import Driver
from .rollout import RolloutState, rollout, start_rollout

__all__ = ["Driver", "RolloutState", "rollout", "start_rollout"]
