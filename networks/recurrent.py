"""Recurrent cores and networks: memory that is unrolled over sequences and reset with episodes.

All are called as `(inputs, resets, carry) -> (outputs, carry)`. Leading axes are any, then time,
then features: inputs `[..., T, size]`, resets bool `[..., T]`, and a carry of leaves `[..., size]`,
with which the sequence starts. Where a reset is True, the carry is set to zeros before that input
is seen: pass `reductions.resets(rows)`, which is `step_type == FIRST`. So a sequence with an
episode's start in the middle is two sequences.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ..envs.specs import ArraySpec, zeros
from ..envs.types import Array, Tree, add_axes, join_action_mask, split_action_mask
from .encoders import MLP, Activation, encoded
from .q_network import QNetwork


class LSTM(nn.Module):
    """Long short-term memory (Hochreiter and Schmidhuber 1997).

    Its carry is `(cell, hidden)`, and its outputs are `[..., T, size]`.
    """

    size: int

    @nn.compact
    def __call__(self, inputs: Array, resets: Array, carry: Tree) -> tuple[Array, Tree]:
        _check_shapes(inputs, resets)
        projected = nn.Dense(4 * self.size, name="input")(inputs)
        kernel = self.param(
            "hidden_kernel", nn.initializers.orthogonal(), (self.size, 4 * self.size), jnp.float32
        )

        def cell(carry: Tree, projected: Array) -> tuple[Tree, Array]:
            memory, hidden = carry
            i, f, g, o = jnp.split(projected + hidden @ kernel, 4, axis=-1)
            memory = nn.sigmoid(f) * memory + nn.sigmoid(i) * jnp.tanh(g)
            hidden = nn.sigmoid(o) * jnp.tanh(memory)
            return (memory, hidden), hidden

        return _unroll(cell, projected, resets, carry)

    def initial_carry(self, batch_shape: tuple[int, ...] = ()) -> Tree:
        """Returns zeros `(cell, hidden)`, each `[*batch_shape, size]`."""
        zeros = lambda: jnp.zeros((*batch_shape, self.size), jnp.float32)
        return zeros(), zeros()


class GRU(nn.Module):
    """A gated recurrent unit (Cho et al. 2014).

    The reset gate acts after the hidden kernel, as in cuDNN. Its carry is one array, and its
    outputs are `[..., T, size]`.
    """

    size: int

    @nn.compact
    def __call__(self, inputs: Array, resets: Array, carry: Tree) -> tuple[Array, Tree]:
        _check_shapes(inputs, resets)
        projected = nn.Dense(3 * self.size, name="input")(inputs)
        kernel = self.param(
            "hidden_kernel", nn.initializers.orthogonal(), (self.size, 3 * self.size), jnp.float32
        )
        bias = self.param("hidden_bias", nn.initializers.zeros, (self.size,), jnp.float32)

        def cell(hidden: Array, projected: Array) -> tuple[Array, Array]:
            (r, z, n), (hr, hz, hn) = (
                jnp.split(x, 3, axis=-1) for x in (projected, hidden @ kernel)
            )
            update = nn.sigmoid(z + hz)
            candidate = jnp.tanh(n + nn.sigmoid(r + hr) * (hn + add_axes(bias, hn.ndim)))
            hidden = (1.0 - update) * candidate + update * hidden
            return hidden, hidden

        return _unroll(cell, projected, resets, carry)

    def initial_carry(self, batch_shape: tuple[int, ...] = ()) -> Tree:
        """Returns zeros `[*batch_shape, size]`."""
        return jnp.zeros((*batch_shape, self.size), jnp.float32)


class RecurrentQNetwork(nn.Module):
    """Computes action values `[..., T, num_actions]` with memory.

    An encoder, dense layers `hidden`, a core and the head of a `QNetwork` follow each other. The
    call is `(observations [..., T, *shape], resets [..., T], carry) -> (values, carry)`.

    Args:
      num_actions: Number of actions.
      core: Memory: `LSTM(size)`, `GRU(size)`, or another module that is called in the same way and
        has `initial_carry(batch_shape)`.
      hidden: Sizes of the dense layers before the core.
      head_hidden: Sizes of the dense layers after it; of each of the two streams, if dueling.
      dueling: True for separate heads of state value and advantages; see `QNetwork`.
      encoder: Module that encodes observations that are not vectors.
      activation: Function after each dense layer.
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
        features = MLP(self.hidden, self.activation)(encoded(self, observations))
        features, carry = self.core(features, resets, carry)
        head = QNetwork(
            self.num_actions,
            hidden=(),
            head_hidden=self.head_hidden,
            dueling=self.dueling,
            activation=self.activation,
        )
        return head(features), carry

    def initial_carry(self, batch_shape: tuple[int, ...] = ()) -> Tree:
        """Returns the core's initial carry."""
        return self.core.initial_carry(batch_shape)


class RecurrentActorValueNetwork(nn.Module):
    """An actor and a value with memory.

    An encoder comes first, then a core or one for each of the two, then an `ActorNetwork` and a
    `ValueNetwork`:

        RecurrentActorValueNetwork(
            ActorNetwork(spec, hidden=(64,)), ValueNetwork((64,)), core=LSTM(64),
            value_core=LSTM(64)
        )

    The call is `(observations [..., T, *shape], resets [..., T], carry) -> (outputs, carry)`, with
    the outputs `(distribution, values [..., T])`.

    Attributes:
      actor: Network from features `[..., size]`, with the action mask if there is one, to a
        distribution.
      value: Network from features to values `[...]`.
      core: Memory: `LSTM(size)`, `GRU(size)`, or another module that is called in the same way and
        has `initial_carry(batch_shape)`.
      value_core: Memory of the value alone, with which the carry is a pair; None to share `core`.
      encoder: Module before the memory; None for observations that are vectors.
    """

    actor: nn.Module
    value: nn.Module
    core: nn.Module = LSTM(64)
    value_core: nn.Module | None = None
    encoder: nn.Module | None = None

    def __call__(
        self, observations: Tree, resets: Array, carry: Tree
    ) -> tuple[tuple[Any, Array], Tree]:
        inputs, mask = split_action_mask(observations)
        features = encoded(self, inputs)
        if self.value_core is None:
            acting, carry = self.core(features, resets, carry)
            valuing = acting
        else:
            acting, actor_carry = self.core(features, resets, carry[0])
            valuing, value_carry = self.value_core(features, resets, carry[1])
            carry = (actor_carry, value_carry)
        return (self.actor(join_action_mask(acting, mask)), self.value(valuing)), carry

    def initial_carry(self, batch_shape: tuple[int, ...] = ()) -> Tree:
        """Returns the initial carry of the core, or of both cores."""
        cores = [core for core in (self.core, self.value_core) if core is not None]
        carries = tuple(core.initial_carry(batch_shape) for core in cores)
        return carries if len(carries) == 2 else carries[0]


def is_recurrent(network: Any) -> bool:
    """True if a network has memory: if it has `initial_carry(batch_shape)`.

    It is then called as the docstring of this module says.
    """
    return hasattr(network, "initial_carry")


def carry_spec(network: Any) -> Tree:
    """Returns the spec of a recurrent network's carry."""
    carry = jax.eval_shape(network.initial_carry)
    return jax.tree.map(lambda x: ArraySpec(x.shape, x.dtype), carry)


def init(network: Any, key: Array, spec: Tree) -> Tree:
    """Returns fresh variables of a network, recurrent or not, for observations of a spec."""
    if not is_recurrent(network):
        return network.init(key, zeros(spec))
    return network.init(key, zeros(spec, (1,)), jnp.zeros((1,), bool), network.initial_carry())


def initial_state(network: Any, batch_shape: tuple[int, ...] = ()) -> Tree:
    """Returns the carry of a network at the start of a stream; () for one without memory."""
    return network.initial_carry(batch_shape) if is_recurrent(network) else ()


def first_step(network: Any, variables: Tree, observation: Tree, spec: Tree) -> Any:
    """Returns the outputs `[...]` of a network at the first step of an episode.

    Args:
      network: Network with or without memory.
      variables: Variables of the network.
      observation: Observations `[..., *spec.shape]`.
      spec: Spec of one observation.
    """
    if not is_recurrent(network):
        return network.apply(variables, observation)
    leaf = jax.tree.leaves(observation)[0]
    one = jax.tree.leaves(spec)[0]
    batch_shape = jnp.shape(leaf)[: jnp.ndim(leaf) - len(one.shape)]
    apply = partial(network.apply, variables)
    start = network.initial_carry(batch_shape)
    return step(apply, observation, jnp.ones(batch_shape, bool), start)[0]


def step(apply: Callable[..., Any], inputs: Tree, reset: Array, carry: Tree) -> tuple[Any, Tree]:
    """Takes one step of a recurrent network; returns outputs `[..., *shape]` and the next carry.

    Args:
      apply: Function of `(inputs [..., 1, *shape], resets [..., 1], carry)`, such as
        `partial(network.apply, variables)`.
      inputs: Inputs `[..., *shape]`.
      reset: Boolean `[...]`, True where an episode begins.
      carry: Carry before the step.
    """
    axis = jnp.ndim(reset)
    outputs, carry = apply(
        jax.tree.map(lambda x: jnp.expand_dims(x, axis), inputs),
        jnp.expand_dims(reset, axis),
        carry,
    )
    return jax.tree.map(lambda x: jnp.squeeze(x, axis), outputs), carry


def _check_shapes(inputs: Array, resets: Array) -> None:
    if inputs.ndim != resets.ndim + 1 or inputs.shape[:-1] != resets.shape:
        raise ValueError(
            "a recurrent core takes inputs [..., T, size] and resets [..., T]; "
            f"got {list(inputs.shape)} and {list(resets.shape)}"
        )


def _unroll(
    cell: Callable[[Tree, Array], tuple[Tree, Array]], projected: Array, resets: Array, carry: Tree
) -> tuple[Array, Tree]:
    """Scans a cell over the time axis, the last but one of `projected`.

    These are inputs that have gone through their kernel already, in one large product for all steps
    instead of a small one in each.
    """

    def one(carry: Tree, xs: tuple[Array, Array]) -> tuple[Tree, Array]:
        x, reset = xs
        carry = jax.tree.map(lambda c: jnp.where(reset[..., None], 0.0, c), carry)
        return cell(carry, x)

    if projected.shape[-2] == 1:  # acting: no loop to set up
        carry, outputs = one(carry, (projected[..., 0, :], resets[..., 0]))
        return outputs[..., None, :], carry
    carry, outputs = jax.lax.scan(
        one, carry, (jnp.moveaxis(projected, -2, 0), jnp.moveaxis(resets, -1, 0))
    )
    return jnp.moveaxis(outputs, 0, -2), carry
