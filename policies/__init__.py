"""Policies: how to act. They hold no parameters; their methods are pure."""

from .policy import Distribution, Policy, act
from .q_policy import EpsilonGreedyPolicy, GreedyPolicy, QPolicy
from .simple import RandomPolicy, ScriptedPolicy

__all__ = ["Distribution", "EpsilonGreedyPolicy", "GreedyPolicy", "Policy", "QPolicy", "RandomPolicy", "ScriptedPolicy", "act"]
