"""Recurrent cores: memory that is unrolled over sequences, and forgets where an episode begins.

All are called as `(inputs, resets, carry) -> (outputs, carry)`. Leading axes are any, then time, then features: inputs
`[..., T, size]`, resets bool `[..., T]`, and a carry of leaves `[..., size]`, with which the sequence starts. Where a reset is
True, the carry is set to zeros before that input is seen: give them `reductions.resets(rows)`, `step_type == FIRST`. So a
sequence with an episode's start in the middle is two sequences.
"""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ..envs.types import Array, Tree
from .encoders import MLP, Activation
from .q_network import QNetwork


class LSTM(nn.Module):
    """Long short-term memory (Hochreiter and Schmidhuber 1997). Its carry is `(cell, hidden)`, its outputs `[..., T, size]`."""

    size: int

    @nn.compact
    def __call__(self, inputs: Array, resets: Array, carry: Tree) -> tuple[Array, Tree]:
        return _unroll(nn.OptimizedLSTMCell(self.size), inputs, resets, carry)

    def initial_carry(self, batch_shape: tuple[int, ...] = ()) -> Tree:
        """Zeros `(cell, hidden)`, each `[*batch_shape, size]`."""
        return (jnp.zeros((*batch_shape, self.size)), jnp.zeros((*batch_shape, self.size)))


class GRU(nn.Module):
    """A gated recurrent unit (Cho et al. 2014). Its carry is one array, its outputs `[..., T, size]`."""

    size: int

    @nn.compact
    def __call__(self, inputs: Array, resets: Array, carry: Tree) -> tuple[Array, Tree]:
        return _unroll(nn.GRUCell(self.size), inputs, resets, carry)

    def initial_carry(self, batch_shape: tuple[int, ...] = ()) -> Tree:
        """Zeros `[*batch_shape, size]`."""
        return jnp.zeros((*batch_shape, self.size))


class RecurrentQNetwork(nn.Module):
    """Action values `[..., T, num_actions]` with memory: encoder, dense layers `hidden`, a core, and the head of a `QNetwork`.

    Called as `(observations [..., T, *shape], resets [..., T], carry) -> (values, carry)`.

    Args:
      num_actions: A.
      core: `LSTM(size)` or `GRU(size)`, or a module of yours that is called so and has `initial_carry(batch_shape)`.
      hidden: sizes of dense layers before the core.
      head_hidden: sizes of dense layers after it; of each of the two streams, if dueling.
      dueling: see `QNetwork`.
      encoder: for observations that are not vectors.
      activation: of the dense layers.
    """

    num_actions: int
    core: nn.Module = LSTM(64)
    hidden: Sequence[int] = (64,)
    head_hidden: Sequence[int] = ()
    dueling: bool = False
    encoder: nn.Module | None = None
    activation: Activation = nn.relu

    @nn.compact
    def __call__(self, observations: Tree, resets: Array, carry: Tree) -> tuple[Array, Tree]:
        features = observations if self.encoder is None else self.encoder(observations)
        features = MLP(self.hidden, self.activation)(features.astype(jnp.float32))
        features, carry = self.core(features, resets, carry)
        head = QNetwork(
            self.num_actions, hidden=(), head_hidden=self.head_hidden, dueling=self.dueling, activation=self.activation
        )
        return head(features), carry

    def initial_carry(self, batch_shape: tuple[int, ...] = ()) -> Tree:
        """The core's."""
        return self.core.initial_carry(batch_shape)


def step(apply: Callable[..., Any], inputs: Tree, reset: Array, carry: Tree) -> tuple[Any, Tree]:
    """One step of a recurrent network: inputs `[..., *shape]`, reset `[...]`; outputs `[..., *shape]` and the next carry.

    `apply` is called as `(inputs [..., 1, *shape], resets [..., 1], carry)`: `partial(network.apply, variables)`.
    """
    axis = jnp.ndim(reset)
    outputs, carry = apply(jax.tree.map(lambda x: jnp.expand_dims(x, axis), inputs), jnp.expand_dims(reset, axis), carry)
    return jax.tree.map(lambda x: jnp.squeeze(x, axis), outputs), carry


def _unroll(cell: nn.Module, inputs: Array, resets: Array, carry: Tree) -> tuple[Array, Tree]:
    """Scans a cell over the time axis, the last but one of the inputs."""
    if inputs.ndim != resets.ndim + 1 or inputs.shape[:-1] != resets.shape:
        raise ValueError(
            "a recurrent core takes inputs [..., T, size] and resets [..., T]; "
            f"got {list(inputs.shape)} and {list(resets.shape)}"
        )

    def one(cell: nn.Module, carry: Tree, xs: tuple[Array, Array]) -> tuple[Tree, Array]:
        features, reset = xs
        carry = jax.tree.map(lambda x: jnp.where(reset[..., None], 0.0, x), carry)
        return cell(carry, features)

    if inputs.shape[-2] == 1:  # acting: no loop to set up
        carry, outputs = one(cell, carry, (inputs[..., 0, :], resets[..., 0]))
        return outputs[..., None, :], carry
    scan = nn.scan(one, variable_broadcast="params", split_rngs={"params": False})
    carry, outputs = scan(cell, carry, (jnp.moveaxis(inputs, -2, 0), jnp.moveaxis(resets, -1, 0)))
    return jnp.moveaxis(outputs, 0, -2), carry
