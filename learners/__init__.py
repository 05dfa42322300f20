"""Learners: an agent's update compiled for one device or several, and whole training loops."""

from .learner import Learner
from .off_policy_loop import OffPolicyLoop
from .on_device import LoopState, OnDevice, importance_weights, train_on_device
from .on_policy import OnPolicy, OnPolicyState, learn, train_on_policy
from .on_policy_loop import OnPolicyLoop

__all__ = [
    "Learner",
    "LoopState",
    "OffPolicyLoop",
    "OnDevice",
    "OnPolicy",
    "OnPolicyLoop",
    "OnPolicyState",
    "importance_weights",
    "learn",
    "train_on_device",
    "train_on_policy",
]
