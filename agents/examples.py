"""Batches of examples, which on-policy agents make from fresh rows and learn from in parts."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..envs.types import Array, Tree
from .agent import Shard, Shards, weighted_mean
from .losses import scaled
from .reductions import select


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
      episode_length: Mean number of steps of the batch's episodes `[N]`, where the weights make
        sums over an episode; else ().
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
    episode_length: Any = ()

    def mean(self, x: Array, weights: Array | None = None) -> Array:
        """The mean over examples of weight x `x`, which has the shape of `weight`.

        Further `weights` `[N]` multiply too.
        """
        x = scaled(self.weight, x)
        return weighted_mean(x if x.ndim == 1 else x.mean(axis=1), weights)

    def selected(self, weights: Array | None = None) -> "Examples":
        """The examples with floats of 0 where `weight` is 0, whatever stands there.

        So a loss that masks them is finite there, and so is its gradient. Weights above 0, the
        memory and the old distributions stay as they are.

        Args:
          weights: Further weights `[N]`; an example counts for nothing where its own is 0.
        """
        weight = self.weight
        memory, length = self.memory, self.episode_length
        if weights is not None:
            counted = weights != 0
            weight = jnp.where(counted.reshape((-1,) + (1,) * (weight.ndim - 1)), weight, 0.0)
            memory = select(counted, memory)
        length = select(jnp.any((weight > 0).reshape(len(weight), -1), axis=1), length)
        kept = select(weight > 0, self._replace(distribution=(), memory=(), episode_length=()))
        return kept._replace(
            weight=weight, distribution=self.distribution, memory=memory, episode_length=length
        )


def standardize(x: Array, weight: Array, shards: Shards | None = None) -> Array:
    """Returns (x - mean) / standard deviation, both over the elements with a weight above 0.

    An element of weight 0 gets 0, whatever it is. A single element has no deviation, and is
    returned as it is: 0 would mean that nothing is learned from it.

    Args:
      x: Numbers of any shape.
      weight: Weights of the same shape; an element counts once if its weight is above 0.
      shards: Name of the mapped axis of devices to count elements on, or None.
    """
    counts = weight > 0
    x = jnp.where(counts, x, 0.0)
    count = jnp.maximum(total(counts.astype(jnp.float32), shards), 1.0)
    mean = total(x, shards) / count
    variance = total(jnp.where(counts, jnp.square(x - mean), 0.0), shards) / count
    # The gradient of a square root is infinite at 0.
    deviation = jnp.where(variance > 0, jnp.sqrt(jnp.where(variance > 0, variance, 1.0)), 0.0)
    return jnp.where(counts & (count > 1), (x - mean) / (deviation + 1e-8), x)


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
