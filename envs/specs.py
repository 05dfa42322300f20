"""Specs: the shape, dtype and bounds of one array, and the check that data meets them.

A spec is a leaf: `jax.tree.map` over a tree of specs visits each. Shapes are without batch or time
axes.
"""

import dataclasses
import difflib
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .types import Trajectory, Tree, add_axes


class SpecError(ValueError):
    """Raised for data that does not meet its spec.

    The message names the leaf, the spec, what was found instead, and a remedy.
    """


@dataclasses.dataclass(frozen=True)
class ArraySpec:
    """An array of `shape` and `dtype` with no bounds."""

    shape: tuple[int, ...]
    dtype: Any = np.float32

    def __post_init__(self):
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        object.__setattr__(self, "dtype", np.dtype(self.dtype))

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"


def _as_bound(bound: Any, dtype: np.dtype) -> np.ndarray:
    bound = np.asarray(bound)
    if not (np.issubdtype(dtype, np.integer) and np.issubdtype(bound.dtype, np.inexact)):
        return bound.astype(dtype)
    limits = np.iinfo(dtype)  # integers have no infinity
    whole = np.where(np.isfinite(bound), bound, 0).astype(dtype)
    return np.where(
        np.isposinf(bound), limits.max, np.where(np.isneginf(bound), limits.min, whole)
    ).astype(dtype)


@dataclasses.dataclass(frozen=True)
class BoundedSpec(ArraySpec):
    """An array with bounds for each element, both included.

    `minimum` and `maximum` broadcast to `shape`.
    """

    minimum: Any = -math.inf
    maximum: Any = math.inf

    def __post_init__(self):
        super().__post_init__()
        for name in ("minimum", "maximum"):
            bound = np.broadcast_to(_as_bound(getattr(self, name), self.dtype), self.shape)
            uniform = bound.size > 0 and (bound == bound.flat[0]).all()
            object.__setattr__(
                self, name, bound.flat[0].item() if uniform else _to_tuple(bound.tolist())
            )

    @property
    def is_finite(self) -> bool:
        """True if every bound is finite."""
        return bool(np.isfinite(self.low).all() and np.isfinite(self.high).all())

    @property
    def low(self) -> np.ndarray:
        """`minimum` as an array of `shape`."""
        return np.broadcast_to(np.asarray(self.minimum, self.dtype), self.shape)

    @property
    def high(self) -> np.ndarray:
        """`maximum` as an array of `shape`."""
        return np.broadcast_to(np.asarray(self.maximum, self.dtype), self.shape)


@dataclasses.dataclass(frozen=True)
class DiscreteSpec:
    """Integers 0 .. num_values - 1.

    A tuple of `num_values` makes it multi-discrete, of shape `[len(num_values)]`.
    """

    num_values: Any  # int | tuple[int, ...]: code that knows which one it has uses it as such
    dtype: Any = np.int32

    def __post_init__(self):
        counts = self.num_values
        counts = int(counts) if np.ndim(counts) == 0 else tuple(int(n) for n in counts)
        if np.min(counts) < 1:
            raise ValueError(
                "DiscreteSpec needs at least one value per factor, got "
                f"num_values={self.num_values}"
            )
        object.__setattr__(self, "num_values", counts)
        object.__setattr__(self, "dtype", np.dtype(self.dtype))

    @property
    def shape(self) -> tuple[int, ...]:
        """`()`, or `(k,)` for k factors."""
        return () if isinstance(self.num_values, int) else (len(self.num_values),)

    def __str__(self) -> str:
        highest = np.subtract(self.num_values, 1)
        return f"{self.dtype}[{','.join(map(str, self.shape))}] in 0..{highest}"


Spec = ArraySpec | DiscreteSpec


@dataclasses.dataclass(frozen=True)
class EnvironmentSpecs:
    """The specs of an environment's observations, actions, rewards and discounts.

    They are trees of specs without batch axes.
    """

    observation: Tree
    action: Tree
    reward: Spec = ArraySpec((), np.float32)
    discount: Spec = BoundedSpec((), np.float32, 0.0, 1.0)


def trajectory_spec(specs: EnvironmentSpecs, policy_info: Tree = ()) -> Trajectory:
    """Returns the spec of one row of experience.

    Args:
      specs: Specs of the environment.
      policy_info: Specs of the arrays that the policy adds to each row.
    """
    step_type = BoundedSpec((), np.int32, 0, 2)
    return Trajectory(
        step_type,
        specs.observation,
        specs.action,
        policy_info,
        step_type,
        specs.reward,
        specs.discount,
    )


def leaf_name(path: tuple) -> str:
    """Returns a readable name for a leaf's path in a tree, such as `observation/camera`."""
    parts = [
        getattr(p, "name", None) or getattr(p, "key", None) or getattr(p, "idx", None) for p in path
    ]
    return "/".join("0" if p is None else str(p) for p in parts) or "value"


def validate(tree: Tree, spec: Tree, *, batch_ndim: int | None = 0, values: bool = False) -> None:
    """Checks a tree against its spec.

    Args:
      tree: Arrays whose leaves have `batch_ndim` leading axes, then the spec's shape.
      spec: Specs in a tree of the same structure.
      batch_ndim: Number of leading axes; None allows any.
      values: True to check too that numbers are finite and within bounds, which needs arrays on the
        host.

    Raises:
      SpecError: if a leaf is missing, superfluous or wrong. The message names every such leaf, its
        spec, what was found instead, and a remedy.
    """
    want = {leaf_name(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(spec)[0]}
    have = {leaf_name(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}
    problems = [_missing(name, leaf, have) for name, leaf in want.items() if name not in have]
    problems += [
        f"{name}: not in the spec, got {_describe(have[name])}; leave it out"
        for name in have
        if name not in want
    ]
    for name, leaf in want.items():
        if name in have:
            problems += _leaf_problems(name, have[name], leaf, batch_ndim, values)
    if problems:
        raise SpecError("\n".join(problems))


def zeros(spec: Tree, batch_shape: tuple[int, ...] = ()) -> Tree:
    """Returns NumPy zeros `[*batch_shape, *spec.shape]` of the spec's structure and dtypes."""
    return jax.tree.map(lambda s: np.zeros(tuple(batch_shape) + s.shape, s.dtype), spec)


def sample(spec: Tree, key: jax.Array, batch_shape: tuple[int, ...] = ()) -> Tree:
    """Draws a tree `[*batch_shape, *spec.shape]` uniformly within the bounds.

    Where a bound is infinite, the draw is normal, clipped to the other bound.
    """
    leaves: list[Spec]
    treedef: Any
    leaves, treedef = jax.tree.flatten(spec)
    keys = jax.random.split(key, max(len(leaves), 1))
    return treedef.unflatten(
        [
            _sample_leaf(s, k, tuple(batch_shape) + s.shape)
            for s, k in zip(leaves, keys, strict=False)
        ]
    )


def _sample_leaf(spec: Spec, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    if isinstance(spec, DiscreteSpec):
        return jax.random.randint(
            key, shape, 0, add_axes(np.asarray(spec.num_values), len(shape)), spec.dtype
        )
    if spec.dtype == np.bool_:
        return jax.random.bernoulli(key, shape=shape)
    if isinstance(spec, BoundedSpec) and spec.is_finite:
        if np.issubdtype(spec.dtype, np.integer):
            top = np.iinfo(np.int32).max - 1  # the draw is in int32, without its very last value
            low, high = (add_axes(x.astype(np.int64), len(shape)) for x in (spec.low, spec.high))
            return jax.random.randint(
                key, shape, np.minimum(low, top), np.minimum(high, top) + 1, np.int32
            ).astype(spec.dtype)
        return jax.random.uniform(key, shape, spec.dtype, spec.low, spec.high)
    draw = jax.random.normal(key, shape, jnp.float32).astype(spec.dtype)
    if not isinstance(spec, BoundedSpec):
        return draw
    return draw.clip(add_axes(spec.low, draw.ndim), add_axes(spec.high, draw.ndim))


def _leaf_problems(
    name: str, value: Any, spec: Spec, batch_ndim: int | None, values: bool
) -> list[str]:
    shape = np.shape(value)
    dtype = value.dtype if hasattr(value, "dtype") else np.asarray(value).dtype
    rank = len(spec.shape)
    batch = len(shape) - rank if batch_ndim is None else batch_ndim
    expected = f"{name}: expected {'[batch] x ' * bool(batch)}{spec}, got {_describe(value)}"
    if batch < 0 or len(shape) != batch + rank or shape[len(shape) - rank :] != spec.shape:
        return [f"{expected}; {_shape_advice(shape, spec.shape, batch)}"]
    if dtype != spec.dtype:
        return [f"{expected}; cast it with .astype('{spec.dtype}')"]
    return _value_problems(name, np.asarray(value), spec) if values else []


def _value_problems(name: str, value: np.ndarray, spec: Spec) -> list[str]:
    low: Any = -np.inf
    high: Any = np.inf
    if isinstance(spec, DiscreteSpec):
        low = 0
        high = np.subtract(spec.num_values, 1)
    elif isinstance(spec, BoundedSpec):
        low = spec.low
        high = spec.high
    if np.issubdtype(value.dtype, np.inexact) and not np.isfinite(value).all():
        count = int((~np.isfinite(value)).sum())
        return [
            f"{name}: {count} of {value.size} numbers are NaN or infinite; check what computed them"
        ]
    outside = (value < low) | (value > high)
    if np.any(outside):
        worst = value[outside].ravel()[:3].tolist()
        return [
            f"{name}: {int(outside.sum())} of {value.size} numbers lie outside {low}..{high}: "
            f"{worst}; clip or rescale them"
        ]
    return []


def _shape_advice(shape: tuple[int, ...], expected: tuple[int, ...], batch: int) -> str:
    if shape == (1, *expected) and batch == 0:
        return "there is a leading axis of 1: index it away with x[0]"
    if len(shape) < batch + len(expected) and shape[-len(expected) :] == expected:
        return f"add {batch + len(expected) - len(shape)} leading axis or axes"
    if shape[:-1] == expected[:-1] and len(expected) == 3:
        return "did you forget frame stacking (gymnasium.wrappers.FrameStackObservation)?"
    return "reshape it, or build the component from this environment's specs"


def _missing(name: str, spec: Spec, have: dict[str, Any]) -> str:
    near = difflib.get_close_matches(name, have, n=1)
    hint = f"; did you mean to rename {near[0]!r}?" if near else f"; got only {sorted(have)}"
    return f"{name}: missing, expected {spec}{hint}"


def _describe(value: Any) -> str:
    dtype = getattr(value, "dtype", None) or np.asarray(value).dtype
    return f"{dtype}[{','.join(map(str, np.shape(value)))}]"


def _to_tuple(value: Any) -> Any:
    return tuple(_to_tuple(v) for v in value) if isinstance(value, list) else value
