"""What every agent is: a frozen description, its `TrainState`, and the one function that applies a
loss's gradient.
"""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeAlias

import jax
import jax.numpy as jnp
import optax
from flax import struct

from ..envs.specs import EnvironmentSpecs
from ..envs.types import Array, Trajectory, Tree
from ..policies.policy import Policy
from .targets import TargetUpdate

Optimizer: TypeAlias = optax.GradientTransformation | Mapping[str, optax.GradientTransformation]


@struct.dataclass
class TrainState:
    """Everything about an agent that changes.

    `params` and `target_params` are dicts by role (`{"q": ...}`); `step` counts optimizer updates
    (int32, scalar); `key` is the typed random key of training; `extra` holds what else an algorithm
    keeps (normalisers, coefficients).
    """

    params: Tree
    target_params: Tree
    opt_state: Tree
    step: Array
    key: Array
    extra: Tree = struct.field(default_factory=dict)


class LossInfo(NamedTuple):
    """A scalar `loss`, a dict of scalar `metrics`, and `per_example`, a dict of `[B]` arrays
    (`td_error` sets priorities).
    """

    loss: Array
    metrics: dict[str, Array]
    per_example: dict[str, Array]


class Shard(NamedTuple):
    """Stands for an axis name where a batch's parts are averaged outside the program, as
    `learners.LearnerGroup` does.

    `mean` maps this part's (gradients, loss, metrics) to the whole batch's; `first` is the index of
    its first example there.
    """

    mean: Callable[[Tree], Tree]
    first: Array | int = 0


Shards: TypeAlias = str | Shard


class Agent(Protocol):
    """What to learn. A frozen dataclass (`eq=False`); all methods are pure and may be jitted,
    vmapped and scanned.
    """

    @property
    def specs(self) -> EnvironmentSpecs:
        """The environment's specs that the agent was built for."""

    @property
    def train_sequence_length(self) -> int | None:
        """The number of rows T of a training window; None where any length will do."""

    @property
    def policy(self) -> Policy:
        """The policy to evaluate and to deploy."""

    @property
    def collect_policy(self) -> Policy:
        """The policy that gathers experience."""

    @property
    def collect_data_spec(self) -> Trajectory:
        """The spec of one row of experience, for replay."""

    def init(self, key: Array) -> TrainState:
        """A fresh state from a typed random key."""

    def policy_params(self, state: TrainState) -> Tree:
        """What the policies need of the state (parameters, step): this is what is sent to
        actors.
        """

    def loss(
        self,
        params: Tree,
        state: TrainState,
        experience: Trajectory,
        key: Array,
        weights: Array | None = None,
    ) -> LossInfo:
        """The loss of `params` on experience `[B, T, ...]`; `weights` `[B]` multiply the examples'
        losses.
        """

    def train(
        self,
        state: TrainState,
        experience: Trajectory,
        weights: Array | None = None,
        *,
        shards: Shards | None = None,
    ) -> tuple[TrainState, LossInfo]:
        """One gradient step on experience `[B, T, ...]`; under `pmap`, `shards` averages it over
        devices.

        What is averaged is up to `apply_loss`: hand `shards` on to it, and to `example_keys`.
        """


def init_state(
    params: Tree, optimizer: Optimizer, key: Array, target_params: Tree = None, extra: Tree = None
) -> TrainState:
    """A `TrainState` at step 0. `target_params` are copied, so that the state can be donated; None:
    there are none.
    """
    targets = jax.tree.map(jnp.copy, {} if target_params is None else target_params)
    opt_state = by_role(optimizer, params).init(params)
    return TrainState(
        params, targets, opt_state, jnp.zeros((), jnp.int32), key, {} if extra is None else extra
    )


def by_role(optimizer: Optimizer, params: Mapping[str, Tree]) -> optax.GradientTransformation:
    """The optimizer of a dict of parameters by role: one transformation for each role, or a dict of
    them.

    Each role is transformed on its own, so that clipping by the global norm, say, is by the norm of
    a role.

    Raises:
      ValueError: if a dict of optimizers does not name exactly the roles of `params`.
    """
    if not isinstance(optimizer, Mapping):
        optimizer = dict.fromkeys(params, optimizer)
    if set(optimizer) != set(params):
        raise ValueError(
            f"optimizer: expected one for each role {sorted(params)}, got {sorted(optimizer)}; "
            "name each role once"
        )
    if len(params) == 1:  # the same thing with fewer leaves to hand over in every call
        ((role, only),) = optimizer.items()
        return optax.GradientTransformation(
            lambda p: only.init(p[role]),
            lambda g, s, p=None: _wrap(
                role, only.update(g[role], s, None if p is None else p[role])
            ),
        )
    return optax.multi_transform(dict(optimizer), {role: role for role in params})


def apply_loss(
    state: TrainState,
    loss_fn: Callable[[Tree, Array], LossInfo],
    optimizer: Optimizer,
    target_update: TargetUpdate | None = None,
    shards: Shards | None = None,
) -> tuple[TrainState, LossInfo]:
    """The one update: gradient, mean over devices, optimizer, target networks, step counter,
    metrics.

    Args:
      state: the state to improve. Its key is split: one half stays, the other goes to the loss.
      loss_fn: maps (params, key) to a `LossInfo` whose loss is a sum over examples divided by the
        fixed batch size, so that the mean over devices of equal shards is the loss of the whole
        batch.
      optimizer: one transformation, or a dict by role.
      target_update: maps (params, target_params, step) to new target parameters; `step` already
        counts this update.
      shards: the mapped device axis to average over, or a `Shard`; every device must hold the
        same state.

    Returns:
      The new state and the `LossInfo`, whose metrics now include `loss` and `grad_norm`.
    """
    key, loss_key = jax.random.split(state.key)

    def objective(params):
        info = loss_fn(params, loss_key)
        return info.loss, info

    grads, info = jax.grad(objective, has_aux=True)(state.params)
    if shards is not None:
        mean = (
            shards.mean if isinstance(shards, Shard) else partial(jax.lax.pmean, axis_name=shards)
        )
        grads, loss, metrics = mean((grads, info.loss, info.metrics))
        info = info._replace(loss=loss, metrics=metrics)
    updates, opt_state = by_role(optimizer, state.params).update(
        grads, state.opt_state, state.params
    )
    params = optax.apply_updates(state.params, updates)
    step = state.step + 1
    targets = (
        target_update(params, state.target_params, step) if target_update else state.target_params
    )
    metrics = {"loss": info.loss, "grad_norm": _norm(grads), **info.metrics}
    state = dataclasses.replace(
        state, params=params, target_params=targets, opt_state=opt_state, step=step, key=key
    )
    return state, info._replace(metrics=metrics)


def example_keys(key: Array, batch_size: int, shards: Shards | None = None) -> Array:
    """One key per example `[batch_size]`, folded from its index in the whole batch.

    So noise in a loss is the same however the batch is split over devices.
    """
    if isinstance(shards, Shard):
        first = shards.first
    else:
        first = 0 if shards is None else jax.lax.axis_index(shards) * batch_size
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(first + jnp.arange(batch_size))


def weighted_mean(values: Array, weights: Array | None = None) -> Array:
    """Sum of weights x values divided by the number of values `[B]`, not by the sum of weights: a
    fixed denominator, so that means over equal shards average to the mean over the batch."""
    return jnp.mean(values if weights is None else values * weights)


def _wrap(role: str, result: tuple[Any, Any]) -> tuple[dict[str, Any], Any]:
    return {role: result[0]}, result[1]


def _norm(tree: Tree) -> Array:
    """The Euclidean norm over all leaves (optax has moved its own from name to name)."""
    return jnp.sqrt(sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(tree)))
