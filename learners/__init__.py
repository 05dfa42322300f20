"""Learners: an agent's update compiled for one device or several, and whole training loops."""

from .checkpoints import Checkpointer, CheckpointError
from .evolution_scan import EvolutionScan, EvolutionState
from .group import LearnerError, LearnerGroup
from .learner import Learner
from .off_policy_loop import OffPolicyLoop
from .off_policy_scan import OffPolicyScan, OffPolicyState, train_on_device
from .offline_scan import OfflineScan, OfflineState
from .on_policy_loop import OnPolicyLoop
from .on_policy_scan import OnPolicyScan, OnPolicyState, learn, train_on_policy
from .prioritised import importance_weights
from .stateful import StatefulLearner

__all__ = [
    "CheckpointError",
    "Checkpointer",
    "EvolutionScan",
    "EvolutionState",
    "Learner",
    "LearnerError",
    "LearnerGroup",
    "OffPolicyLoop",
    "OffPolicyScan",
    "OffPolicyState",
    "OfflineScan",
    "OfflineState",
    "OnPolicyLoop",
    "OnPolicyScan",
    "OnPolicyState",
    "StatefulLearner",
    "importance_weights",
    "learn",
    "train_on_device",
    "train_on_policy",
]
