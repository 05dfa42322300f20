"""Learners: an agent's update compiled for one device or several, and whole training loops."""

if "." not in __name__:
    raise ImportError(f"import jax_agents.{__name__} instead of {__name__}")

from .checkpoints import Checkpointer, CheckpointError
from .checks import NonFiniteError
from .evolution_scan import EvolutionScan
from .group import LearnerGroup
from .group_actor import LearnerError
from .learner import Learner
from .off_policy_loop import OffPolicyLoop
from .off_policy_scan import OffPolicyScan, OffPolicyState
from .offline_scan import OfflineScan
from .on_policy_loop import OnPolicyLoop
from .on_policy_scan import OnPolicyScan, OnPolicyState, learn
from .prioritised import importance_weights, replay_update
from .scan import Scan, ScanState
from .stateful import StatefulLearner

__all__ = [
    "CheckpointError",
    "Checkpointer",
    "EvolutionScan",
    "Learner",
    "LearnerError",
    "LearnerGroup",
    "NonFiniteError",
    "OffPolicyLoop",
    "OffPolicyScan",
    "OffPolicyState",
    "OfflineScan",
    "OnPolicyLoop",
    "OnPolicyScan",
    "OnPolicyState",
    "Scan",
    "ScanState",
    "StatefulLearner",
    "importance_weights",
    "learn",
    "replay_update",
]
