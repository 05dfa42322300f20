"""Validates that an environment keeps the conventions that the rest of the library relies on."""

import copy
from typing import Any, cast

import jax
import numpy as np

from . import specs as specs_lib
from .environment import Environment, JaxEnvironment
from .host import HostEnvironment
from .specs import BoundedSpec, DiscreteSpec, EnvironmentSpecs, SpecError
from .types import StepType, TimeStep, Tree, split_action_mask


def validate_environment(
    env: Environment | JaxEnvironment,
    num_steps: int = 1000,
    seed: int = 0,
    *,
    allow_zero_discount: bool = False,
) -> None:
    """Steps an environment with random actions and checks every time step.

    It checks the specs; the structure, shapes, dtypes and values of all time steps; the order of
    step types (FIRST after reset, and after LAST only); reward 0 and discount 1 on FIRST; discount
    in 0 .. 1, and 0 on LAST only; a mask that allows an action wherever one is taken; arrays that
    no later call writes to; a first observation that the seed fixes; and, for a JAX environment, a
    state that keeps its structure, shapes and dtypes.

    Args:
      env: Host environment, of any `num_envs`, or JAX environment. It is left in the middle of an
        episode, and open.
      num_steps: Number of steps to take.
      seed: Seed of the environment and of the actions.
      allow_zero_discount: True to accept discount 0 before the LAST time step too, as where a life
        is lost in an Atari game.

    Raises:
      SpecError: if a convention is broken; the message says which, at which step and where, and how
        to mend it.
    """
    for name in ("specs", "reset", "step"):
        if not hasattr(env, name):
            raise SpecError(
                f"{type(env).__name__} has no {name!r}; "
                "see envs.Environment and envs.JaxEnvironment"
            )
    if not isinstance(env.specs, EnvironmentSpecs):
        raise SpecError(
            f"specs: expected EnvironmentSpecs, got {type(env.specs).__name__}; it holds "
            "observation and action specs"
        )
    if not hasattr(env, "num_envs"):
        _check_state(cast(JaxEnvironment, env))
        env = HostEnvironment(cast(JaxEnvironment, env))
    _check_host(cast(Environment, env), num_steps, seed, allow_zero_discount)


def _check_host(env: Environment, num_steps: int, seed: int, allow_zero_discount: bool) -> None:
    batch = () if env.num_envs is None else (env.num_envs,)
    rng = np.random.default_rng(seed)
    time_step = env.reset(seed)
    _check_time_step(time_step, env.specs, batch, "reset")
    first = copy.deepcopy(time_step)
    last = np.full(batch, StepType.LAST)
    _check_order(last, time_step, "reset")
    for i in range(num_steps):
        before = copy.deepcopy(time_step)
        action = _draw_action(env.specs.action, time_step.observation, rng, batch)
        following = env.step(action)
        where = f"step {i}"
        _check_unchanged(before, time_step, where)
        _check_time_step(following, env.specs, batch, where)
        if not allow_zero_discount:
            _check_discount(following, where)
        _check_order(np.asarray(before.step_type), following, where)
        time_step = following
    before = copy.deepcopy(time_step)
    again = env.reset(seed)
    _check_unchanged(before, time_step, "second reset")
    _check_time_step(again, env.specs, batch, "second reset")
    _check_order(last, again, "second reset")
    for path, one, two in _leaf_pairs(first.observation, again.observation):
        if not np.array_equal(one, two):
            raise SpecError(
                f"second reset: observation/{path} differs although the seed, {seed}, is the same; "
                "draw every random number from a generator that reset(seed) makes"
            )


def _check_state(env: JaxEnvironment) -> None:
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
        for path, a, b in _leaf_pairs(one, two):
            if (a.shape, a.dtype) != (b.shape, b.dtype):
                raise SpecError(
                    f"{name}/{path}: step returns {b.dtype}{list(b.shape)}, reset returned "
                    f"{a.dtype}{list(a.shape)}; both have to be the same for lax.scan"
                )


def _check_time_step(
    time_step: TimeStep, specs: EnvironmentSpecs, batch: tuple[int, ...], where: str
) -> None:
    if not isinstance(time_step, TimeStep):
        raise SpecError(
            f"{where}: expected a TimeStep, got {type(time_step).__name__}; make one with "
            "envs.restart, transition, termination or truncation"
        )
    want = TimeStep(
        BoundedSpec((), np.int32, 0, 2), specs.reward, specs.discount, specs.observation
    )
    try:
        specs_lib.validate(time_step, want, batch_ndim=len(batch), values=True)
    except SpecError as error:
        raise SpecError(f"{where}: {error}") from None
    for path, leaf in jax.tree_util.tree_flatten_with_path(time_step)[0]:
        if np.shape(leaf)[: len(batch)] != batch:
            raise SpecError(
                f"{where}: {specs_lib.leaf_name(path)}: expected a leading axis of "
                f"num_envs={batch[0]}, got shape {np.shape(leaf)}; "
                "return one row for each environment"
            )
    discount = np.asarray(time_step.discount)
    if np.any((discount < 0) | (discount > 1)):
        raise SpecError(
            f"{where}: discount: expected numbers in 0..1, got {discount}; "
            "gamma belongs to the agent"
        )
    mask = split_action_mask(time_step.observation)[1]
    if mask is not None:
        acting = np.asarray(time_step.step_type) != StepType.LAST
        check_mask(np.asarray(mask), specs.action, acting, where)


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
    if not isinstance(action_spec, DiscreteSpec):
        raise SpecError(
            f"{where}: action_mask: only discrete actions can be masked, "
            f"got the action spec {action_spec}"
        )
    total = int(np.sum(action_spec.num_values))
    if mask.dtype != np.bool_ or mask.shape[-1:] != (total,):
        raise SpecError(
            f"{where}: action_mask: expected bool[{total}], True where allowed, got "
            f"{mask.dtype}{list(mask.shape)}"
        )
    for i, part in enumerate(_factors(mask, action_spec)):
        if np.any(stuck := ~part.any(-1) & acting):
            which = f" in environments {np.flatnonzero(stuck).tolist()}" if np.ndim(stuck) else ""
            raise SpecError(
                f"{where}: action_mask forbids every action (factor {i}){which} before the LAST "
                "time step; allow at least one"
            )


def _factors(mask: np.ndarray, spec: DiscreteSpec) -> list[np.ndarray]:
    """Splits a mask into those of the action's factors."""
    return np.split(mask, np.cumsum(spec.num_values)[:-1] if spec.shape else [], axis=-1)


def _check_discount(time_step: TimeStep, where: str) -> None:
    before_last = np.asarray(time_step.step_type) != StepType.LAST
    if np.any((np.asarray(time_step.discount) == 0) & before_last):
        raise SpecError(
            f"{where}: discount is 0 before the episode's LAST time step; it is 0 only where the "
            "task terminates (allow_zero_discount=True where episodes have parts, such as lives)"
        )


def _check_order(before: np.ndarray, time_step: TimeStep, where: str) -> None:
    now = np.asarray(time_step.step_type)
    should_be_first = before == StepType.LAST
    if np.any(should_be_first & (now != StepType.FIRST)):
        call = "reset" if "reset" in where else "the step after a LAST time step"
        raise SpecError(
            f"{where}: {call} has to return a FIRST time step, got step type {now}; reset there "
            "and ignore the action"
        )
    if np.any(~should_be_first & (now == StepType.FIRST)):
        raise SpecError(
            f"{where}: FIRST without a LAST time step before it; return the final observation as "
            "LAST, and reset in the next step"
        )
    first = now == StepType.FIRST
    reward = np.asarray(time_step.reward)
    discount = np.asarray(time_step.discount)
    if np.any(first & ((discount != 1) | (reward.reshape((*first.shape, -1)) != 0).any(-1))):
        raise SpecError(
            f"{where}: a FIRST time step has reward 0 and discount 1, got {reward} and "
            f"{discount}; use envs.restart"
        )


def _check_unchanged(before: TimeStep, now: TimeStep, where: str) -> None:
    for path, one, two in _leaf_pairs(before, now):
        if not np.array_equal(one, two):
            raise SpecError(
                f"{where}: {path} of the previous time step has changed, since the environment "
                "writes to it; return a copy"
            )


def _leaf_pairs(one: Tree, two: Tree) -> list[tuple[str, Any, Any]]:
    leaves = jax.tree_util.tree_flatten_with_path(one)[0]
    return [
        (specs_lib.leaf_name(path), a, b)
        for (path, a), b in zip(leaves, jax.tree.leaves(two), strict=True)
    ]


def _draw_action(
    spec: Tree, observation: Tree, rng: np.random.Generator, batch: tuple[int, ...]
) -> Tree:
    mask = split_action_mask(observation)[1]
    if mask is None:
        return jax.tree.map(lambda leaf: _draw_leaf(leaf, rng, batch), spec)
    draws = [
        np.argmax(rng.random(factor.shape) * factor, axis=-1)
        for factor in _factors(np.asarray(mask), spec)
    ]
    return np.asarray(np.stack(draws, -1) if spec.shape else draws[0], spec.dtype)


def _draw_leaf(spec: Any, rng: np.random.Generator, batch: tuple[int, ...]) -> np.ndarray:
    shape = batch + spec.shape
    if isinstance(spec, DiscreteSpec):
        return np.asarray(rng.integers(0, spec.num_values, shape), spec.dtype)
    if not isinstance(spec, BoundedSpec):
        return np.asarray(rng.normal(size=shape), spec.dtype)
    if np.issubdtype(spec.dtype, np.integer):
        return np.asarray(rng.integers(spec.low, spec.high.astype(np.int64) + 1, shape), spec.dtype)
    # An infinite bound is replaced by one that is 1 beyond 0 or beyond the other bound.
    low = np.where(np.isfinite(spec.low), spec.low, np.minimum(spec.high, 0) - 1)
    high = np.where(np.isfinite(spec.high), spec.high, np.maximum(spec.low, 0) + 1)
    low = np.where(np.isfinite(low), low, -1)
    high = np.where(np.isfinite(high), high, 1)
    return np.asarray(low + (high - low) * rng.random(shape), spec.dtype).clip(spec.low, spec.high)
