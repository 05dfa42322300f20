"""Learners: an agent's update compiled for one device or several, and whole training loops."""

from .checkpoints import Checkpointer, CheckpointError
from .evolution import Evolution, EvolutionState
from .group import LearnerError, LearnerGroup
from .learner import Learner
from .off_policy_loop import OffPolicyLoop
from .offline import Offline, OfflineState
from .on_device import LoopState, OnDevice, importance_weights, train_on_device
from .on_policy import OnPolicy, OnPolicyState, learn, train_on_policy
from .on_policy_loop import OnPolicyLoop
from .stateful import StatefulLearner

__all__ = [
    "CheckpointError",
    "Checkpointer",
    "Evolution",
    "EvolutionState",
    "Learner",
    "LearnerError",
    "LearnerGroup",
    "LoopState",
    "OffPolicyLoop",
    "Offline",
    "OfflineState",
    "OnDevice",
    "OnPolicy",
    "OnPolicyLoop",
    "OnPolicyState",
    "StatefulLearner",
    "importance_weights",
    "learn",
    "train_on_device",
    "train_on_policy",
]
