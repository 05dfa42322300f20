"""Checks of where data comes from, one function for each, which every path to an agent calls.

The paths are environments on the host and on device, drivers, evaluation, replay buffers, data sets
and the constructors of agents. What one refuses, all refuse, with the same message.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .environment import JaxEnvironment
from .specs import (
    ArraySpec,
    BoundedSpec,
    DiscreteSpec,
    EnvironmentSpecs,
    SpecError,
    leaf_name,
    validate,
)
from .types import StepType, TimeStep, Trajectory, Tree, split_action_mask


def check_specs(specs: EnvironmentSpecs) -> None:
    """Checks the specs of an environment.

    Observations and actions are arrays of numbers or booleans, of at most 32 bits unless JAX has
    64, whose bounds are not empty; an action mask is boolean and fits the action; a reward is one
    float, and a discount one float in 0..1.

    Raises:
      SpecError: if one is not; the message names it, what was expected, and what to do.
    """
    for name in ("observation", "action", "reward", "discount"):
        for path, leaf in jax.tree_util.tree_flatten_with_path(getattr(specs, name))[0]:
            _check_leaf(f"{name}/{leaf_name(path)}" if path else name, leaf)
    for name in ("reward", "discount"):
        spec = getattr(specs, name)
        scalar = isinstance(spec, ArraySpec) and spec.shape == ()
        if not (scalar and jnp.issubdtype(spec.dtype, jnp.floating)):
            raise SpecError(
                f"{name}: expected one float, ArraySpec(()), got {spec}; give each environment one "
                "number of a floating-point dtype"
            )
    discount = specs.discount
    if isinstance(discount, BoundedSpec) and (discount.low < 0 or discount.high > 1):
        raise SpecError(
            f"discount: expected bounds within 0..1, got {discount.low}..{discount.high}; gamma "
            "belongs to the agent"
        )
    mask = split_action_mask(specs.observation)[1]
    if mask is not None:
        _check_mask_form(mask, specs.action)
        if len(mask.shape) != 1:
            raise SpecError(f"action_mask: expected one axis, got {mask}")


def check_row_spec(spec: Tree) -> None:
    """Checks the spec of a row, as replay buffers get it, as `check_specs` does an environment's.

    Raises:
      SpecError: if it describes no rows that an agent could learn from.
    """
    if isinstance(spec, Trajectory):
        check_specs(EnvironmentSpecs(spec.observation, spec.action, spec.reward, spec.discount))


def check_mask(mask: np.ndarray, action_spec: Tree, acting: np.ndarray, where: str) -> None:
    """Checks that an action mask fits the action spec and allows an action where one is taken.

    Args:
      mask: Mask `[..., n]`, True where an action is allowed.
      action_spec: Spec of the action.
      acting: Boolean `[...]`, True where an action is taken.
      where: Beginning of the message.

    Raises:
      SpecError: if the mask is of another shape or dtype, actions cannot be masked, or none is
        allowed.
    """
    _check_mask_form(mask, action_spec, f"{where}: ")
    for i, part in enumerate(mask_factors(mask, action_spec)):
        if np.any(stuck := ~part.any(-1) & acting):
            which = f" in environments {np.flatnonzero(stuck).tolist()}" if np.ndim(stuck) else ""
            raise SpecError(
                f"{where}: action_mask forbids every action (factor {i}){which} before the LAST "
                "time step; allow at least one"
            )


def mask_factors(mask: np.ndarray, spec: DiscreteSpec) -> list[np.ndarray]:
    """Splits a mask into those of the action's factors."""
    return np.split(mask, np.cumsum(spec.num_values)[:-1] if spec.shape else [], axis=-1)


def check_time_step(
    time_step: TimeStep,
    specs: EnvironmentSpecs,
    batch_shape: tuple[int, ...],
    where: str,
    values: bool = False,
) -> None:
    """Checks a time step against the specs of its environment.

    Args:
      time_step: Time step `[*batch_shape, ...]`, or its shapes and dtypes.
      specs: Specs of the environment.
      batch_shape: `()`, or `(n,)` of n environments.
      where: Beginning of the message.
      values: True to check too that numbers are finite and within bounds, and that the mask allows
        an action where one is taken, which needs arrays on the host.

    Raises:
      SpecError: if it does not meet them.
    """
    if not isinstance(time_step, TimeStep):
        raise SpecError(
            f"{where}: expected a TimeStep, got {type(time_step).__name__}; make one with "
            "envs.restart, transition, termination or truncation"
        )
    want = TimeStep(
        BoundedSpec((), np.int32, 0, 2), specs.reward, specs.discount, specs.observation
    )
    try:
        validate(time_step, want, batch_ndim=len(batch_shape), values=values)
    except SpecError as error:
        raise SpecError(f"{where}: {error}") from None
    for path, leaf in jax.tree_util.tree_flatten_with_path(time_step)[0]:
        if np.shape(leaf)[: len(batch_shape)] != batch_shape:
            raise SpecError(
                f"{where}: {leaf_name(path)}: expected a leading axis of "
                f"num_envs={batch_shape[0]}, got shape {np.shape(leaf)}; "
                "return one row for each environment"
            )
    if not values:
        return
    check_discount(time_step.discount, where)
    mask = split_action_mask(time_step.observation)[1]
    if mask is not None:
        acting = np.asarray(time_step.step_type) != StepType.LAST
        check_mask(np.asarray(mask), specs.action, acting, where)


def check_jax_environment(env: JaxEnvironment) -> None:
    """Checks an environment in JAX by the shapes and dtypes of what it returns, without a step.

    Raises:
      SpecError: if its specs are not in order, its time steps do not meet them, or `step` returns
        another structure than `reset`.
    """
    check_specs(env.specs)
    state, time_step = jax.eval_shape(env.reset, jax.random.key(0))
    action = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype), env.specs.action)
    try:
        after = jax.eval_shape(env.step, state, action)
    except TypeError as error:
        raise SpecError(
            f"step: tracing it failed ({error}); it has to be a pure function of JAX arrays"
        ) from error
    for name, one, two in (("state", state, after[0]), ("time step", time_step, after[1])):
        structures: list[Any] = [jax.tree.structure(tree) for tree in (one, two)]
        if structures[0] != structures[1]:
            raise SpecError(
                f"{name}: step returns the structure {structures[1]}, reset returned "
                f"{structures[0]}; both have to be the same for lax.scan"
            )
        for path, a, b in leaf_pairs(one, two):
            if (a.shape, a.dtype) != (b.shape, b.dtype):
                raise SpecError(
                    f"{name}/{path}: step returns {b.dtype}{list(b.shape)}, reset returned "
                    f"{a.dtype}{list(a.shape)}; both have to be the same for lax.scan"
                )
    check_time_step(time_step, env.specs, (), "reset")


def check_discount(discount: Any, where: str) -> None:
    """Raises a SpecError unless all discounts, on the host, are in 0..1; NaN is not."""
    numbers = np.asarray(discount)
    if not ((numbers >= 0) & (numbers <= 1)).all():
        raise SpecError(
            f"{where}: discount: expected numbers in 0..1, got {discount}; "
            "gamma belongs to the agent"
        )


def check_at_least(owner: str, least: int, numbers: Mapping[str, Any]) -> None:
    """Raises a ValueError unless all numbers are integers of at least `least`.

    Args:
      owner: Name of what has them as arguments, for the message.
      least: Smallest number allowed.
      numbers: Numbers by the names of the arguments.
    """
    for name, number in numbers.items():
        whole = isinstance(number, int | np.integer) and not isinstance(number, bool)
        if not whole:
            raise ValueError(f"{owner}: expected an integer {name} >= {least}, got {number!r}")
        if number < least:
            raise ValueError(f"{owner}: expected {name} >= {least}, got {number}")


def leaf_pairs(one: Tree, two: Tree) -> list[tuple[str, Any, Any]]:
    """Returns the name and both leaves of every place in two trees of one structure."""
    leaves = jax.tree_util.tree_flatten_with_path(one)[0]
    return [
        (leaf_name(path), a, b) for (path, a), b in zip(leaves, jax.tree.leaves(two), strict=True)
    ]


def _check_leaf(name: str, leaf: Any) -> None:
    if not isinstance(leaf, ArraySpec | DiscreteSpec):
        raise SpecError(
            f"{name}: expected an ArraySpec, a BoundedSpec or a DiscreteSpec, got {leaf!r}"
        )
    dtype = leaf.dtype
    if dtype != np.bool_ and not jnp.issubdtype(dtype, jnp.number):
        raise SpecError(f"{name}: expected numbers or booleans, got {leaf}")
    if dtype.itemsize > 4 and jax.dtypes.canonicalize_dtype(dtype) != dtype:
        raise SpecError(
            f"{name}: expected at most 32 bits, to which JAX cuts all numbers, got {leaf}; make "
            f"spec and arrays {_NARROWER.get(dtype.kind, 'float32')}"
        )
    if isinstance(leaf, BoundedSpec) and not np.all(leaf.low <= leaf.high):
        raise SpecError(
            f"{name}: expected minimum <= maximum, got {leaf.minimum} and {leaf.maximum}"
        )


_NARROWER = {"i": "int32", "u": "uint32", "f": "float32"}


def _check_mask_form(mask: Any, action_spec: Tree, where: str = "") -> None:
    """Checks the shape `[..., n]` and the dtype of a mask, or of its spec."""
    if not isinstance(action_spec, DiscreteSpec):
        raise SpecError(
            f"{where}action_mask: only discrete actions can be masked, "
            f"got the action spec {action_spec}"
        )
    total = int(np.sum(action_spec.num_values))
    if mask.dtype != np.bool_ or tuple(mask.shape[-1:]) != (total,):
        raise SpecError(
            f"{where}action_mask: expected bool[{total}], True where allowed, got "
            f"{mask.dtype}{list(mask.shape)}; make it boolean, as in mask.astype(bool)"
        )
