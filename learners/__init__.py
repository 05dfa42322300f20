"""Learners: an agent's update compiled for one device or several, and whole training loops."""

from .evolution import Evolution, EvolutionState
from .learner import Learner
from .off_policy_loop import OffPolicyLoop
from .offline import Offline, OfflineState
from .on_device import LoopState, OnDevice, importance_weights, train_on_device
from .on_policy import OnPolicy, OnPolicyState, learn, train_on_policy
from .on_policy_loop import OnPolicyLoop

__all__ = [
    "Evolution",
    "EvolutionState",
    "Learner",
    "LoopState",
    "OffPolicyLoop",
    "Offline",
    "OfflineState",
    "OnDevice",
    "OnPolicy",
    "OnPolicyLoop",
    "OnPolicyState",
    "importance_weights",
    "learn",
    "train_on_device",
    "train_on_policy",
]
