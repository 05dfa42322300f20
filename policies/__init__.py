"""Policies: ways to act. They hold no parameters; those that are compiled have pure methods."""

if "." not in __name__:
    raise ImportError(f"import jax_agents.{__name__} instead of {__name__}")

from .actor_policy import ActorPolicy, ReturnTrackingPolicy
from .continuous import GaussianNoisePolicy, OrnsteinUhlenbeckPolicy
from .greedy import EpsilonGreedyPolicy, GreedyPolicy
from .noisy import NoisyPolicy
from .policy import Distribution, Policy, PolicyParams, act, check_pure, is_pure
from .python_policy import PythonPolicy
from .q_policy import QPolicy
from .schedule import Schedule, value_at
from .simple import RandomPolicy, ScriptedPolicy
from .versioned import VersionedPolicy, with_version
from .wrapper import PolicyWrapper

__all__ = [
    "ActorPolicy",
    "Distribution",
    "EpsilonGreedyPolicy",
    "GaussianNoisePolicy",
    "GreedyPolicy",
    "NoisyPolicy",
    "OrnsteinUhlenbeckPolicy",
    "Policy",
    "PolicyParams",
    "PolicyWrapper",
    "PythonPolicy",
    "QPolicy",
    "RandomPolicy",
    "ReturnTrackingPolicy",
    "Schedule",
    "ScriptedPolicy",
    "VersionedPolicy",
    "act",
    "check_pure",
    "is_pure",
    "value_at",
    "with_version",
]
