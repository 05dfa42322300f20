"""Validates that an environment keeps the conventions that the rest of the library relies on."""

import copy
from typing import Any, cast

import jax
import numpy as np

from .checks import (
    check_jax_environment,
    check_specs,
    check_time_step,
    leaf_pairs,
    mask_factors,
)
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
    check_specs(env.specs)
    if not hasattr(env, "num_envs"):
        check_jax_environment(cast(JaxEnvironment, env))
        env = HostEnvironment(cast(JaxEnvironment, env))
    _check_host(cast(Environment, env), num_steps, seed, allow_zero_discount)


def _check_host(env: Environment, num_steps: int, seed: int, allow_zero_discount: bool) -> None:
    batch = () if env.num_envs is None else (env.num_envs,)
    rng = np.random.default_rng(seed)
    time_step = env.reset(seed)
    check_time_step(time_step, env.specs, batch, "reset", values=True)
    first = copy.deepcopy(time_step)
    last = np.full(batch, StepType.LAST)
    _check_order(last, time_step, "reset")
    for i in range(num_steps):
        before = copy.deepcopy(time_step)
        action = _draw_action(env.specs.action, time_step.observation, rng, batch)
        following = env.step(action)
        where = f"step {i}"
        _check_unchanged(before, time_step, where)
        check_time_step(following, env.specs, batch, where, values=True)
        if not allow_zero_discount:
            _check_discount(following, where)
        _check_order(np.asarray(before.step_type), following, where)
        time_step = following
    before = copy.deepcopy(time_step)
    again = env.reset(seed)
    _check_unchanged(before, time_step, "second reset")
    check_time_step(again, env.specs, batch, "second reset", values=True)
    _check_order(last, again, "second reset")
    for path, one, two in leaf_pairs(first.observation, again.observation):
        if not np.array_equal(one, two):
            raise SpecError(
                f"second reset: observation/{path} differs although the seed, {seed}, is the same; "
                "draw every random number from a generator that reset(seed) makes"
            )


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
    for path, one, two in leaf_pairs(before, now):
        if not np.array_equal(one, two):
            raise SpecError(
                f"{where}: {path} of the previous time step has changed, since the environment "
                "writes to it; return a copy"
            )


def _draw_action(
    spec: Tree, observation: Tree, rng: np.random.Generator, batch: tuple[int, ...]
) -> Tree:
    mask = split_action_mask(observation)[1]
    if mask is None:
        return jax.tree.map(lambda leaf: _draw_leaf(leaf, rng, batch), spec)
    draws = [
        np.argmax(rng.random(factor.shape) * factor, axis=-1)
        for factor in mask_factors(np.asarray(mask), spec)
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
