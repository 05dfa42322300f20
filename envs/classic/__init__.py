"""Classic control in JAX, each step by step the same as gymnasium's."""

from .cartpole import CartPole

__all__ = ["CartPole"]
