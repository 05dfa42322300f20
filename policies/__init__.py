"""Policies: how to act. They hold no parameters; their methods are pure."""

from .actor_policy import ActorPolicy, ReturnTrackingPolicy
from .continuous import GaussianNoisePolicy, OrnsteinUhlenbeckPolicy
from .greedy import EpsilonGreedyPolicy, GreedyPolicy
from .noisy import NoisyPolicy
from .policy import Distribution, Policy, act
from .q_policy import QPolicy
from .recurrent import RecurrentActorPolicy, RecurrentQPolicy
from .simple import RandomPolicy, ScriptedPolicy
from .versioned import VersionedPolicy, with_version

__all__ = [
    "ActorPolicy",
    "Distribution",
    "EpsilonGreedyPolicy",
    "GaussianNoisePolicy",
    "GreedyPolicy",
    "NoisyPolicy",
    "OrnsteinUhlenbeckPolicy",
    "Policy",
    "QPolicy",
    "RandomPolicy",
    "RecurrentActorPolicy",
    "RecurrentQPolicy",
    "ReturnTrackingPolicy",
    "ScriptedPolicy",
    "VersionedPolicy",
    "act",
    "with_version",
]
