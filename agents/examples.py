"""Batches of examples, which on-policy agents make from fresh rows and learn from in parts."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..envs.types import Array, Tree
from .agent import Shard, Shards, weighted_mean


class Examples(NamedTuple):
    """N examples in any order, arrays `[N, ...]`, or of a recurrent agent sequences `[N, T, ...]`.

    Attributes:
      observation: Observations, normalised if the agent normalises them.
      action: Actions as they were drawn.
      log_prob: Log-probabilities of the actions when they were drawn.
      advantage: Estimates of the actions' advantages.
      target: Targets of the values.
      value: Estimates of the values before the updates.
      weight: Weights; 0 for boundary rows.
      distribution: The policy's distributions before the updates, for agents that need them.
      memory: Inputs of a recurrent network other than observations; see `OnPolicyAgent.memory`.
    """

    observation: Tree
    action: Array
    log_prob: Array
    advantage: Array
    target: Array
    value: Array
    weight: Array
    distribution: Any = ()
    memory: Tree = ()

    def mean(self, x: Array, weights: Array | None = None) -> Array:
        """The mean over examples of weight x `x`, which has the shape of `weight`.

        Further `weights` `[N]` multiply too.
        """
        x = jnp.where(self.weight > 0, x, 0.0) * self.weight
        return weighted_mean(x if x.ndim == 1 else x.mean(axis=1), weights)


def standardize(x: Array, weight: Array, shards: Shards | None = None) -> Array:
    """Returns (x - mean) / standard deviation, both over the elements with a weight above 0.

    Args:
      x: Numbers of any shape.
      weight: Weights of the same shape; an element counts once if its weight is above 0.
      shards: Name of the mapped axis of devices to count elements on, or None.
    """
    counts = weight > 0
    count = jnp.maximum(total(counts.astype(jnp.float32), shards), 1.0)
    mean = total(jnp.where(counts, x, 0.0), shards) / count
    variance = total(jnp.where(counts, jnp.square(x - mean), 0.0), shards) / count
    return (x - mean) / (jnp.sqrt(variance) + 1e-8)


def total(x: Array, shards: Shards | None = None) -> Array:
    """Returns the sum of an array's elements, on all devices of the axis `shards`.

    Raises:
      ValueError: for a `Shard`, since only gradients and metrics are averaged outside the program.
    """
    if isinstance(shards, Shard):
        raise ValueError(
            "an update that normalises over its batch cannot be split "
            "over the learners of a group: normalise the whole batch beforehand "
            "(PpoAgent(advantages='batch') does so in prepare)"
        )
    return jnp.sum(x) if shards is None else jax.lax.psum(jnp.sum(x), shards)
