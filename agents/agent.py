"""The parts of every agent: its protocol, its `TrainState`, and the one update."""

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
from ..policies.simple import RandomPolicy
from .checks import check_variables
from .step_schedules import NUM_STEPS
from .targets import TargetUpdate

_SHARE = "share of the batch"  # beside the metrics of a part
Optimizer: TypeAlias = optax.GradientTransformation | Mapping[str, optax.GradientTransformation]


@struct.dataclass
class TrainState:
    """The state of an agent: everything that changes in training.

    Attributes:
      params: Parameters by role, such as `{"q": ...}`.
      target_params: Parameters of target networks by role; `{}` if there are none.
      opt_state: State of the optimizer.
      step: Number of optimizer updates, int32, scalar.
      key: Typed random key of training.
      extra: Other state of an algorithm, by name: normalisers, coefficients.
    """

    params: Tree
    target_params: Tree
    opt_state: Tree
    step: Array
    key: Array
    extra: Tree = struct.field(default_factory=dict)


class LossInfo(NamedTuple):
    """The result of a loss.

    Attributes:
      loss: Scalar.
      metrics: Scalars by name: means over the steps of a batch, boundary rows left out.
      per_example: Arrays `[B]` by name; `"td_error"` sets priorities in replay.
      share: Share of the batch that the metrics are over: the sum of weight x mask, divided by the
        size of the batch. Parts of a batch are averaged in this proportion.
    """

    loss: Array
    metrics: dict[str, Array]
    per_example: dict[str, Array]
    share: Array | float = 1.0


class Shard(NamedTuple):
    """One part of a batch whose parts are averaged outside the program (`learners.LearnerGroup`).

    Attributes:
      mean: Function from this part's (gradients, loss, metrics) to those of the whole batch.
      first: Index of the part's first example in the whole batch.
    """

    mean: Callable[[Tree], Tree]
    first: Array | int = 0


Shards: TypeAlias = str | Shard  # the name of a mapped axis of devices, or one part of a batch


class Agent(Protocol):
    """An algorithm: a frozen dataclass (`eq=False`) whose methods are pure functions.

    The methods may be jitted, vmapped and scanned. `OffPolicyAgent` and `OnPolicyAgent` are bases.
    """

    @property
    def specs(self) -> EnvironmentSpecs:
        """The specs of the environment that the agent was built for."""

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
        """Returns a fresh state, made from a typed random key."""

    def policy_params(self, state: TrainState) -> Tree:
        """The parameters that the policies need, to send to actors; see `policies.PolicyParams`."""

    def loss(
        self,
        params: Tree,
        state: TrainState,
        experience: Trajectory,
        key: Array,
        weights: Array | None = None,
        *,
        shards: Shards | None = None,
    ) -> LossInfo:
        """The loss that `train` descends.

        Args:
          params: Parameters to differentiate by.
          state: State of the agent, constant.
          experience: Rows `[B, T, ...]`.
          key: Typed random key of the loss.
          weights: Weights `[B]` of the examples' losses; None for 1.
          shards: Parts of the batch, as in `train`, for `example_keys`.
        """

    def train(
        self,
        state: TrainState,
        experience: Trajectory,
        weights: Array | None = None,
        *,
        shards: Shards | None = None,
    ) -> tuple[TrainState, LossInfo]:
        """Takes one gradient step on experience `[B, T, ...]`.

        Args:
          state: State to improve.
          experience: Rows `[B, T, ...]`, or a part of them.
          weights: Weights `[B]` of the examples' losses; None for 1.
          shards: Name of the mapped axis over whose parts of the batch the gradients are averaged,
            as under `pmap`, or a `Shard`; None for a whole batch. `apply_loss` does the averaging.
        """


def warm_up_policy(agent: Agent) -> Policy:
    """Returns the policy to fill a replay buffer with before the first update.

    It acts uniformly at random, unless the agent stores more with a row than a random policy knows,
    such as the carry of a recurrent network: then it is the agent's collect policy.
    """
    if jax.tree.leaves(agent.collect_data_spec.policy_info):
        return agent.collect_policy
    return RandomPolicy(agent.specs.action)


def init_state(
    params: Tree, optimizer: Optimizer, key: Array, target_params: Tree = None, extra: Tree = None
) -> TrainState:
    """Returns a `TrainState` at step 0.

    Args:
      params: Parameters by role.
      optimizer: One transformation, or a dict by role.
      key: Typed random key of training.
      target_params: Target parameters by role, copied so that the state can be donated; None if
        there are none.
      extra: Other state by name; None for none.

    Raises:
      TypeError: if the parameters are not a dict.
      ValueError: if a dict of optimizers does not name exactly the roles, or variables other than
        parameters are among them.
    """
    if isinstance(params, Mapping):
        for variables in params.values():
            check_variables(variables)
    return TrainState(
        params=params,
        target_params=jax.tree.map(jnp.copy, {} if target_params is None else target_params),
        opt_state=by_role(optimizer, params).init(params),
        step=jnp.zeros((), jnp.int32),
        key=key,
        extra={} if extra is None else extra,
    )


def by_role(
    optimizer: Optimizer, params: Mapping[str, Tree]
) -> optax.GradientTransformationExtraArgs:
    """Returns one optimizer for a dict of parameters by role.

    Each role is transformed on its own, so that clipping by the global norm is by a role's norm.
    Extra arguments of `update`, such as `value`, reach the transformations that take them.

    Args:
      optimizer: One transformation, which serves all roles, or a dict of them by role.
      params: Parameters by role.

    Raises:
      TypeError: if `params` is not a dict.
      ValueError: if a dict of optimizers does not name exactly the roles of `params`.
    """
    if not isinstance(params, Mapping):
        raise TypeError(
            'params: expected a dict by role, such as {"q": variables}, got '
            f"{type(params).__name__}"
        )
    if not isinstance(optimizer, Mapping):
        optimizer = dict.fromkeys(params, optimizer)
    if set(optimizer) != set(params):
        raise ValueError(
            f"optimizer: expected one for each role {sorted(params)}, got {sorted(optimizer)}; "
            "name each role once"
        )
    if len(params) > 1:
        both = optax.multi_transform(dict(optimizer), {role: role for role in params})
        return optax.with_extra_args_support(both)
    # For one role the same without a mask, whose fewer leaves make each call cheaper.
    ((role, given),) = optimizer.items()
    only = optax.with_extra_args_support(given)

    def update(
        grads: Tree, state: Tree, params: Tree = None, **extra_args: Any
    ) -> tuple[Tree, Tree]:
        own = None if params is None else params[role]
        updates, state = only.update(grads[role], state, own, **extra_args)
        return {role: updates}, state

    return optax.GradientTransformationExtraArgs(lambda params: only.init(params[role]), update)


def apply_loss(
    state: TrainState,
    loss: Callable[[Tree, Array], LossInfo],
    optimizer: Optimizer,
    target_update: TargetUpdate | None = None,
    shards: Shards | None = None,
) -> tuple[TrainState, LossInfo]:
    """Applies the gradient of a loss; the `train` of every agent calls this one update.

    It differentiates, averages over devices, applies the optimizer, moves the target networks and
    counts the update. The optimizer is given the loss too, as `value`, for transformations that
    need it, such as `optax.contrib.reduce_on_plateau`: the whole loss, of all roles together, and
    of the whole batch.

    Args:
      state: State to improve. Its key is split: one half stays, the loss gets the other.
      loss: Function from (params, key) to a `LossInfo`. Its loss is a sum over examples divided by
        the fixed batch size, so that the mean over equal shards is the loss of the whole batch.
      optimizer: One transformation, or a dict by role.
      target_update: Function from (params, target_params, step) to new target parameters, of the
        roles that have any; `step` counts this update.
      shards: Parts of the batch, as in `Agent.train`; every device must hold the same state.

    Returns:
      The new state and the `LossInfo`, whose metrics include `loss` and `grad_norm`.
    """
    key, loss_key = jax.random.split(state.key)

    def objective(params: Tree) -> tuple[Array, LossInfo]:
        info = loss(params, loss_key)
        return info.loss, info

    grads, info = jax.grad(objective, has_aux=True)(state.params)
    if shards is not None:
        mean = (
            shards.mean if isinstance(shards, Shard) else partial(jax.lax.pmean, axis_name=shards)
        )
        metrics = info.metrics
        if not isinstance(info.share, float):  # parts weigh as much as they hold
            metrics = {name: metric * info.share for name, metric in metrics.items()}
            metrics[_SHARE] = info.share
        grads, mean_loss, metrics = mean((grads, info.loss, metrics))
        metrics = dict(metrics)
        share = metrics.pop(_SHARE, info.share)
        info = info._replace(loss=mean_loss, metrics=over_share(metrics, share), share=share)
    transformation = by_role(optimizer, state.params)
    extra_args = {NUM_STEPS: state.extra[NUM_STEPS]} if NUM_STEPS in state.extra else {}
    updates, opt_state = transformation.update(
        grads, state.opt_state, state.params, value=info.loss, **extra_args
    )
    params = optax.apply_updates(state.params, updates)
    step = state.step + 1
    targets = state.target_params
    if target_update is not None:
        targets = target_update({role: params[role] for role in targets}, targets, step)
    metrics = {"loss": info.loss, "grad_norm": _norm(grads), **info.metrics}
    state = dataclasses.replace(
        state, params=params, target_params=targets, opt_state=opt_state, step=step, key=key
    )
    return state, info._replace(metrics=metrics)


def example_keys(key: Array, batch_size: int, shards: Shards | None = None) -> Array:
    """Returns one key for each example, `[batch_size]`.

    The index of an example in the whole batch is folded into its key, so the noise in a loss does
    not depend on how the batch is split over devices.

    Args:
      key: Typed random key, the same on all devices.
      batch_size: Number of examples in this part of the batch.
      shards: Parts of the batch, as in `Agent.train`.
    """
    first: Array | int = 0
    if isinstance(shards, Shard):
        first = shards.first
    elif shards is not None:
        first = jax.lax.axis_index(shards) * batch_size
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(first + jnp.arange(batch_size))


def weighted_mean(values: Array, weights: Array | None = None, mask: Array | None = None) -> Array:
    """Returns the sum of weights x values divided by their number B, for values `[B]`.

    The denominator is fixed, so that means over equal shards average to the mean over the batch.

    Args:
      values: Numbers `[B]`; one whose weight or mask is 0 counts as 0, whatever it is.
      weights: Weights `[B]`; None for 1.
      mask: Mask `[B]`; None for 1.
    """
    if weights is not None:
        weights = jnp.asarray(weights, jnp.float32)  # those of NumPy may be float64
        counts = weights != 0 if mask is None else (weights != 0) & (mask > 0)
        return jnp.mean(jnp.where(counts, values, 0.0) * jnp.where(counts, weights, 0.0))
    return jnp.mean(values if mask is None else jnp.where(mask > 0, values, 0.0))


def over_share(means: Tree, share: Array | float) -> Tree:
    """Returns means over the steps of a batch, of means over all of it where the rest counts as 0.

    Args:
      means: Scalars, as from `weighted_mean`.
      share: The same mean of ones; where it is 0, so are the results.
    """
    share = jnp.asarray(share, jnp.float32)
    share = jnp.where(share > 0, share, 1.0)
    return jax.tree.map(lambda mean: mean / share, means)


def _norm(tree: Tree) -> Array:
    """The Euclidean norm over all leaves (optax has moved its own from name to name)."""
    return jnp.sqrt(sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(tree)))
