"""Turns gymnasium's spaces into specs, and makes converters of observations and actions.

Each converter is built once from its space. For a flat space it is one closure, since it runs in
every step of a host loop.
"""

import operator
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from .specs import ArraySpec, BoundedSpec, DiscreteSpec, SpecError, validate
from .types import ACTION_MASK, Tree

_NARROWER = {
    np.dtype(np.float64): np.float32,
    np.dtype(np.int64): np.int32,
    np.dtype(np.uint64): np.uint32,
}


class Conversion(NamedTuple):
    """The spec of a space, and the converter of its values.

    For observations, `convert` turns gymnasium's value into ours; for actions, ours into
    gymnasium's.
    """

    spec: Tree
    convert: Callable[[Any], Any]


def observations(space: Any, num_envs: int | None, copy: bool = True) -> Conversion:
    """Returns the spec of an observation space and its converter.

    float64, int64 and uint64 become 32 bits wide; a `Discrete` starts at 0; an integer leaf named
    `"action_mask"` becomes boolean.

    Args:
      space: Observation space of one environment.
      num_envs: Number n of environments, for values `[n, ...]`; None for values `[...]`.
      copy: True to return arrays that share no memory with gymnasium's.

    Raises:
      ValueError: if the space has no spec.
    """
    return _observation(space, num_envs, copy, "observation")


def actions(space: Any, num_envs: int | None) -> Conversion:
    """Returns the spec of an action space and the converter to gymnasium's actions.

    The converter raises `SpecError` for an action of another structure, shape or dtype, and for a
    number out of range where actions are discrete. It does not clip: the policy keeps the bounds.

    Args:
      space: Action space of one environment.
      num_envs: Number n of environments, for actions `[n, ...]`; None for actions `[...]`.

    Raises:
      ValueError: if the space has no spec.
    """
    spec, convert = _action(space, num_envs, "action")

    def explain(action):
        validate(
            {"action": action},
            {"action": spec},
            batch_ndim=0 if num_envs is None else 1,
            values=True,
        )
        axis = f" with a leading axis of {num_envs}, one for each environment"
        raise SpecError(
            f"action: expected {spec}{axis if num_envs is not None else ''}, got {action!r}"
        )

    def checked(action):
        try:
            return convert(action)
        except SpecError:
            raise
        except (TypeError, ValueError, AttributeError, KeyError, IndexError):
            return explain(action)

    return Conversion(spec, checked)


def _observation(space: Any, num_envs: int | None, copy: bool, name: str) -> Conversion:
    from gymnasium import spaces

    if isinstance(space, spaces.Dict):
        parts = {
            key: _observation(part, num_envs, copy, f"{name}/{key}")
            for key, part in space.spaces.items()
        }
        converters = {key: part.convert for key, part in parts.items()}
        return Conversion(
            {key: part.spec for key, part in parts.items()},
            lambda value: {key: f(value[key]) for key, f in converters.items()},
        )
    if isinstance(space, spaces.Tuple):
        return _tuple(
            _observation(part, num_envs, copy, f"{name}/{i}") for i, part in enumerate(space.spaces)
        )
    spec, start = _leaf(space, name)
    if isinstance(space, spaces.Discrete) and num_envs is None:
        return Conversion(spec, lambda value: np.int32(value - start))
    shape = spec.shape if num_envs is None else (num_envs, *spec.shape)
    return Conversion(spec, _observed_array(space, spec.dtype, shape, start, copy, name))


def _observed_array(
    space: Any, dtype: np.dtype, shape: tuple[int, ...], start: Any, copy: bool, name: str
) -> Callable[[Any], np.ndarray]:
    """Returns the converter of one array, whose discrete values begin at `start`."""
    from gymnasium import spaces

    shifted = bool(np.any(start))
    make_array = np.array if copy else np.asarray
    limits = np.iinfo(dtype) if dtype.kind in "iu" else None
    saturates = (
        limits is not None
        and isinstance(space, spaces.Box)
        and (space.low < limits.min).any() | (space.high > limits.max).any()
    )

    def convert(value):
        if saturates:  # a number that 32 bits do not hold would wrap around
            value = np.clip(value, limits.min, limits.max)
        array = make_array(value - start if shifted else value, dtype)
        if array.shape != shape:
            raise SpecError(
                f"{name}: the environment's space promises shape {list(shape)}, but it returned "
                f"{list(array.shape)}; correct its observation_space or the array that it returns"
            )
        return array

    return convert


def _tuple(parts: Iterable[Conversion]) -> Conversion:
    """Joins the conversions of the parts of a tuple."""
    items = list(parts)
    functions = [item.convert for item in items]
    return Conversion(
        tuple(item.spec for item in items),
        lambda value: tuple(f(part) for f, part in zip(functions, value, strict=True)),
    )


def _action(space: Any, num_envs: int | None, name: str) -> Conversion:
    from gymnasium import spaces

    if isinstance(space, spaces.Dict):
        parts = {
            key: _action(part, num_envs, f"{name}/{key}") for key, part in space.spaces.items()
        }
        converters = {key: part.convert for key, part in parts.items()}

        def convert_dict(action):
            if action.keys() != converters.keys():
                raise KeyError(name)
            return {key: f(action[key]) for key, f in converters.items()}

        return Conversion({key: part.spec for key, part in parts.items()}, convert_dict)
    if isinstance(space, spaces.Tuple):
        return _tuple(_action(part, num_envs, f"{name}/{i}") for i, part in enumerate(space.spaces))
    spec, start = _leaf(space, name, action=True)
    if isinstance(space, spaces.Discrete) and num_envs is None:
        return Conversion(spec, _discrete_action(spec.num_values, int(start)))
    return Conversion(spec, _array_action(space, spec, start, num_envs))


def _discrete_action(num_values: int, start: int) -> Callable[[Any], int]:
    index = operator.index  # takes every kind of integer scalar, and no float

    def convert(action):
        value = index(action)
        if 0 <= value < num_values:
            return value + start
        raise SpecError(
            f"action: expected an integer in 0..{num_values - 1}, got {value}; count actions from 0"
        )

    return convert


def _array_action(
    space: Any, spec: Any, start: Any, num_envs: int | None
) -> Callable[[Any], np.ndarray]:
    shape = spec.shape if num_envs is None else (num_envs, *spec.shape)
    dtype = spec.dtype
    space_dtype = space.dtype
    counts = np.asarray(spec.num_values) if isinstance(spec, DiscreteSpec) else None

    def convert(action):
        array = np.asarray(action)
        if array.shape != shape or (
            array.dtype != dtype and (counts is None or array.dtype.kind not in "iu")
        ):
            raise ValueError(action)
        if counts is None:
            return array.astype(space_dtype)
        if ((array < 0) | (array >= counts)).any():
            raise ValueError(action)
        return array.astype(space_dtype) + start

    return convert


def _leaf(space: Any, name: str, action: bool = False) -> tuple[Any, Any]:
    """Returns the spec of a space that is one array, and the number that its values start at."""
    from gymnasium import spaces

    if isinstance(space, spaces.Discrete):
        return DiscreteSpec(int(space.n)), int(space.start)
    if isinstance(space, spaces.MultiDiscrete) and space.nvec.ndim == 1:
        return DiscreteSpec(tuple(space.nvec.tolist())), np.asarray(space.start, space.dtype)
    if isinstance(space, spaces.MultiDiscrete) and not action:
        start = np.asarray(space.start, space.dtype)
        return BoundedSpec(space.shape, np.int32, 0, space.nvec - 1), start
    if isinstance(space, spaces.MultiBinary) and action and len(space.shape) == 1:
        return DiscreteSpec((2,) * space.shape[0]), np.zeros((), space.dtype)
    if (
        isinstance(space, spaces.MultiBinary | spaces.Box)
        and name.endswith("/" + ACTION_MASK)
        and space.dtype.kind in "iub"
    ):
        return ArraySpec(space.shape, np.bool_), 0
    if isinstance(space, spaces.MultiBinary) and not action:
        return BoundedSpec(space.shape, space.dtype, 0, 1), 0
    if isinstance(space, spaces.Box):
        dtype = np.dtype(_NARROWER.get(space.dtype, space.dtype))
        low, high = _bounds(space.low, space.high, dtype, inwards=action)
        return BoundedSpec(space.shape, dtype, low, high), 0
    raise ValueError(
        f"{name}: expected a Box, Discrete, MultiDiscrete, MultiBinary, Dict or Tuple space "
        f"(MultiDiscrete and MultiBinary actions have to be vectors), got {space}; turn it into "
        "one of them with gymnasium.wrappers.TransformObservation or TransformAction"
    )


def _bounds(
    low: np.ndarray, high: np.ndarray, dtype: np.dtype, inwards: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Returns bounds in another dtype.

    With `inwards`, floats are rounded so that a value at a bound lies within the space's bounds.
    """
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        clipped = [np.clip(x, limits.min, limits.max).astype(dtype) for x in (low, high)]
        return clipped[0], clipped[1]
    with np.errstate(over="ignore"):  # a bound beyond float32 is no bound
        rounded_low = low.astype(dtype)
        rounded_high = high.astype(dtype)
    if inwards:
        higher = np.nextafter(rounded_low, dtype.type(np.inf))
        rounded_low = np.where((rounded_low < low) & np.isfinite(rounded_low), higher, rounded_low)
        lower = np.nextafter(rounded_high, dtype.type(-np.inf))
        too_high = (rounded_high > high) & np.isfinite(rounded_high)
        rounded_high = np.where(too_high, lower, rounded_high)
    return rounded_low, rounded_high
