"""The messages of clients: JSON, which is checked against specs and becomes NumPy trees."""

import json
import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from ..agents.agent import Agent
from ..envs import specs as specs_lib
from ..envs.preprocessing import Preprocessor
from ..envs.specs import ArraySpec, BoundedSpec, DiscreteSpec, Spec, SpecError
from ..envs.types import Tree

# Greatest magnitude of a number from a client. Its square, and that of a gradient that it makes,
# fit into float32 with room: a finite 3e38 would turn all parameters into NaN.
MAX_MAGNITUDE = 1e9


class MessageError(ValueError):
    """A part of a message cannot be used; the text names it, what was expected and what came."""


class RequestError(Exception):
    """A request cannot be served as it is.

    Attributes:
      status: HTTP status, which gives the reason; the text says what to do.
    """

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


def parse(
    value: Any,
    spec: Tree,
    name: str,
    *,
    bounded: bool = True,
    limit: float = MAX_MAGNITUDE,
) -> Tree:
    """Returns the NumPy tree that a JSON value stands for.

    Objects stand for dicts, arrays for tuples and lists, and nested arrays of numbers for leaves.

    Args:
      value: Value that `json.loads` returned.
      spec: Spec of the result.
      name: Name of the value in errors.
      bounded: False to let floating-point numbers leave the spec's bounds; they must be finite in
        any case, and whole numbers keep to their bounds.
      limit: Greatest magnitude of floating-point numbers.

    Raises:
      MessageError: if the structure, a shape or a type is wrong, or a number is NaN, infinite, out
        of bounds or beyond the limit.
    """
    if isinstance(spec, dict):
        if not isinstance(value, dict) or set(value) != set(spec):
            raise MessageError(
                f"{name}: expected an object with the keys {sorted(spec)}, got {_format(value)}"
            )
        return {
            key: parse(value[key], part, f"{name}/{key}", bounded=bounded, limit=limit)
            for key, part in spec.items()
        }
    if isinstance(spec, tuple | list):
        fields = getattr(spec, "_fields", tuple(map(str, range(len(spec)))))
        if not isinstance(value, list) or len(value) != len(spec):
            raise MessageError(
                f"{name}: expected an array of {len(spec)} parts, got {_format(value)}"
            )
        parts = [
            parse(v, s, f"{name}/{field}", bounded=bounded, limit=limit)
            for v, s, field in zip(value, spec, fields, strict=True)
        ]
        return type(spec)(*parts) if hasattr(spec, "_fields") else type(spec)(parts)
    return _parse_leaf(value, spec, name, bounded, limit)


def to_text(spec: Tree) -> Any:
    """Returns a spec as JSON for people to read: `"float32[4]"` for a leaf."""
    if isinstance(spec, dict):
        return {key: to_text(part) for key, part in spec.items()}
    return [to_text(part) for part in spec] if isinstance(spec, tuple | list) else str(spec)


def json_schema(spec: Tree) -> dict[str, Any]:
    """Returns the JSON schema of the values that `parse` accepts for a spec."""
    if isinstance(spec, dict):
        return object_schema({key: json_schema(part) for key, part in spec.items()}, sorted(spec))
    if isinstance(spec, tuple | list):
        size = {"minItems": len(spec), "maxItems": len(spec)}
        return {"type": "array", "prefixItems": [json_schema(part) for part in spec], **size}
    schema = _number_schema(spec)
    for size in reversed(spec.shape):
        schema = {"type": "array", "items": schema, "minItems": size, "maxItems": size}
    return schema | {"description": str(spec)}


def object_schema(properties: dict[str, Any], required: Sequence[str] = ()) -> dict[str, Any]:
    """Returns the JSON schema of an object with these properties and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def parse_object(body: bytes) -> dict[str, Any]:
    """Returns the JSON object in a request's body; an empty body is `{}`.

    Raises:
      MessageError: if the body is not JSON, or not an object.
    """
    try:
        value = json.loads(body) if body else {}
    except (ValueError, RecursionError) as error:
        raise MessageError(
            f"body: expected a JSON object, got text that is not JSON: {str(error)[:200]}"
        ) from None
    if not isinstance(value, dict):
        raise MessageError(f"body: expected a JSON object, got {_format(value)}")
    return value


def check_keys(body: dict[str, Any], known: Collection[str], required: Collection[str]) -> None:
    """Checks that an object has the required keys, and none that are not known.

    Raises:
      MessageError: if a key is missing or unknown.
    """
    unknown = [key for key in body if key not in known]
    if unknown:
        raise MessageError(f"{unknown[0][:60]}: not known here; expected {sorted(known)}")
    missing = [key for key in required if key not in body]
    if missing:
        raise MessageError(f"{missing[0]}: missing; got {sorted(name[:60] for name in body)}")


def parse_number(value: Any, name: str, limit: float = MAX_MAGNITUDE) -> float:
    """Returns a finite number.

    Args:
      value: Value that `json.loads` returned.
      name: Name of the value in errors.
      limit: Greatest magnitude of the number.

    Raises:
      MessageError: if the value is something else, or beyond the limit.
    """
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not abs(value) <= float(np.finfo(np.float32).max)
    ):
        raise MessageError(f"{name}: expected a finite number, got {_format(value)}")
    _check_magnitude(abs(float(value)), name, limit)
    return float(value)


def raw_observations(
    agent: Agent, preprocessor: Preprocessor | None
) -> tuple[Tree, Callable[[Tree], Tree]]:
    """Returns the spec of the observations that clients send, and a function to the agent's."""
    if preprocessor is None:
        return agent.specs.observation, lambda observation: observation
    return preprocessor.raw_spec, preprocessor.from_raw


def _parse_leaf(value: Any, spec: Spec, name: str, bounded: bool, limit: float) -> np.ndarray:
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError, RecursionError):  # uneven nesting, or nested too deeply
        raise MessageError(
            f"{name}: expected {spec}, got arrays of uneven lengths: {_format(value)}"
        ) from None
    kinds = "b" if spec.dtype == np.bool_ else "iuf"
    # An empty array has no numbers that would tell its type.
    typed = array.dtype.kind in kinds or not array.size
    if not typed or array.shape != spec.shape:
        raise MessageError(
            f"{name}: expected {spec}, got {_format(value)}, {array.dtype}{list(array.shape)}"
        )
    whole = np.issubdtype(spec.dtype, np.integer)
    with np.errstate(over="ignore", invalid="ignore"):
        cast = array.astype(spec.dtype)
    if whole and not np.array_equal(cast.astype(np.float64), array.astype(np.float64)):
        raise MessageError(f"{name}: expected whole numbers, {spec}, got {_format(value)}")
    limits = spec if whole or bounded else ArraySpec(spec.shape, spec.dtype)
    try:
        specs_lib.validate(cast, limits, values=True)
    except SpecError as error:
        raise MessageError(f"{name}: {str(error).removeprefix('value: ')}") from None
    if np.issubdtype(spec.dtype, np.floating) and cast.size:
        _check_magnitude(float(np.abs(cast).max()), name, limit)
    return cast


def _check_magnitude(magnitude: float, name: str, limit: float) -> None:
    if magnitude > limit:
        raise MessageError(
            f"{name}: expected numbers from {-limit:g} to {limit:g}, got one of magnitude "
            f"{magnitude:g}, whose square a network cannot learn from; scale them, or have the "
            "server raise max_magnitude"
        )


def _number_schema(spec: Spec) -> dict[str, Any]:
    if spec.dtype == np.bool_:
        return {"type": "boolean"}
    kind = "integer" if np.issubdtype(spec.dtype, np.integer) else "number"
    schema: dict[str, Any] = {"type": kind}
    if isinstance(spec, DiscreteSpec):
        return schema | {"minimum": 0, "maximum": int(np.max(spec.num_values)) - 1}
    if isinstance(spec, BoundedSpec):
        low = float(np.min(spec.low, initial=math.inf))
        high = float(np.max(spec.high, initial=-math.inf))
        schema |= {"minimum": low} if math.isfinite(low) else {}
        schema |= {"maximum": high} if math.isfinite(high) else {}
    return schema


def _format(value: Any) -> str:
    """Describes JSON in a few words, for errors."""
    kinds = {
        dict: "an object",
        list: "an array",
        str: "a string",
        bool: "a boolean",
        type(None): "null",
    }
    text = repr(value) if isinstance(value, int | float | bool) else ""
    return text if text and len(text) < 40 else kinds.get(type(value), "a number too large")
