"""Values of an observation and a continuous action, and ensembles of any network."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ..envs.types import Array, Tree
from .encoders import MLP, Activation, Initializer, encoded, he_truncated_normal


class CriticNetwork(nn.Module):
    """Maps observations `[..., *shape]` and actions `[..., *action_shape]` to values `[...]`.

    Actions are in the environment's units. Both are flattened and joined, after an optional
    `encoder` of the observation; then come dense layers of the sizes `hidden` and a linear one.
    """

    hidden: Sequence[int] = (256, 256)
    encoder: nn.Module | None = None
    activation: Activation = nn.relu
    kernel_init: Initializer = he_truncated_normal

    @nn.compact
    def __call__(self, observation: Tree, action: Array) -> Array:
        features = encoded(self, observation)
        batch = features.shape[:-1]
        joined = jnp.concatenate(
            [features, jnp.asarray(action, jnp.float32).reshape(*batch, -1)], axis=-1
        )
        return nn.Dense(1)(MLP(self.hidden, self.activation, self.kernel_init)(joined))[..., 0]


@dataclasses.dataclass(frozen=True, eq=False)
class Ensemble:
    """Several networks of one architecture, initialised apart and applied together.

    Outputs are `[size, ...]`. Variables are stacked on a first axis, so that n networks are one
    batched matrix product for each layer. Dense networks with a matrix of 256 x 256 or more are
    kept apart instead: variables are a tuple with those of each member, and a CPU computes the
    members side by side. Anything with `init(key, *inputs)` and `apply(variables, *inputs)` can be
    a member.

    Raises:
      ValueError: if size < 1.
    """

    network: Any
    size: int = 2

    def __post_init__(self):
        if self.size < 1:
            raise ValueError(f"Ensemble: expected size >= 1, got {self.size}")

    def init(self, key: Array, *inputs: Tree) -> Tree:
        """Returns fresh variables of all members: stacked `[size, ...]`, or a tuple."""
        keys = jax.random.split(key, self.size)
        member = jax.tree.leaves(jax.eval_shape(self.network.init, key, *inputs))
        if any(x.size >= 256 * 256 for x in member) and all(x.ndim <= 2 for x in member):
            return tuple(self.network.init(k, *inputs) for k in keys)
        return jax.vmap(lambda k: self.network.init(k, *inputs))(keys)

    def member(self, variables: Tree, index: int) -> Tree:
        """Returns one member's variables."""
        if isinstance(variables, tuple):
            return variables[index]
        return jax.tree.map(lambda x: x[index], variables)

    def apply(self, variables: Tree, *inputs: Tree) -> Tree:
        """Returns every member's output for the same inputs, `[size, ...]`."""
        if isinstance(variables, tuple):
            return jax.tree.map(
                lambda *x: jnp.stack(x),
                *(self.network.apply(member, *inputs) for member in variables),
            )
        # A batch of vectors `[B, size]` is copied for each member, because XLA would transpose
        # activations around a product of shared inputs: a tenth of a SAC update with 64-wide
        # networks on a CPU. Inputs of more axes stay shared, since convolutions over images are
        # faster that way. (Vectors `[B, T, size]` stay shared too: they could be images, and no
        # update has them.)
        axes = jax.tree.map(lambda x: 0 if jnp.ndim(x) <= 2 else None, inputs)
        copied = lambda x: (
            jnp.broadcast_to(x, (self.size, *jnp.shape(x))) if jnp.ndim(x) <= 2 else x
        )
        own = jax.lax.optimization_barrier(jax.tree.map(copied, inputs))
        return jax.vmap(lambda v, own: self.network.apply(v, *own), in_axes=(0, axes))(
            variables, own
        )
