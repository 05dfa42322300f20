"""What travels between a policy server and its clients: JSON for observations and actions, NumPy's
format for parameters.
"""

import io
import json
import math
from typing import Any

import jax
import numpy as np

from ..envs import specs as specs_lib
from ..envs.specs import BoundedSpec, DiscreteSpec, Spec, SpecError, leaf_name
from ..envs.types import Tree


class WireError(ValueError):
    """Something a client sent that cannot be used; the message names the part, what was expected
    and what came.
    """


class RequestError(Exception):
    """A request that cannot be served as it is; `status` is HTTP's word for why, and the message
    says what to do.
    """

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


def from_json(value: Any, spec: Tree, name: str, *, bounded: bool = True) -> Tree:
    """The NumPy tree that JSON stands for: objects for dicts, arrays for tuples, nested arrays of
    numbers for leaves.

    Args:
      value: what `json.loads` gave.
      spec: of the result.
      name: what to call it in errors.
      bounded: whether floating-point numbers must lie within the spec's bounds; they must be finite
        in any case.

    Raises:
      WireError: a wrong structure, shape or type, NaN or infinity, or a number out of bounds.
    """
    if isinstance(spec, dict):
        if not isinstance(value, dict) or set(value) != set(spec):
            raise WireError(
                f"{name}: expected an object with the keys {sorted(spec)}, got {_told(value)}"
            )
        return {
            key: from_json(value[key], part, f"{name}/{key}", bounded=bounded)
            for key, part in spec.items()
        }
    if isinstance(spec, tuple | list):
        fields = getattr(spec, "_fields", tuple(map(str, range(len(spec)))))
        if not isinstance(value, list) or len(value) != len(spec):
            raise WireError(f"{name}: expected an array of {len(spec)} parts, got {_told(value)}")
        parts = [
            from_json(v, s, f"{name}/{field}", bounded=bounded)
            for v, s, field in zip(value, spec, fields, strict=True)
        ]
        return type(spec)(*parts) if hasattr(spec, "_fields") else type(spec)(parts)
    return _leaf_from_json(value, spec, name, bounded)


def to_json(tree: Tree) -> Any:
    """What `json.dumps` takes, for a tree of arrays: the inverse of `from_json`."""
    if isinstance(tree, dict):
        return {key: to_json(value) for key, value in tree.items()}
    if isinstance(tree, tuple | list):
        return [to_json(value) for value in tree]
    return np.asarray(tree).tolist()


def to_text(spec: Tree) -> Any:
    """A spec as JSON that people read: `"float32[4]"` for a leaf."""
    if isinstance(spec, dict):
        return {key: to_text(part) for key, part in spec.items()}
    return [to_text(part) for part in spec] if isinstance(spec, tuple | list) else str(spec)


def required(body: dict[str, Any], key: str) -> Any:
    """A part of a body.

    Raises:
      WireError: it is missing.
    """
    if key not in body:
        raise WireError(f"{key}: missing; got {sorted(name[:60] for name in body)}")
    return body[key]


def json_schema(spec: Tree) -> dict[str, Any]:
    """The JSON schema of what `from_json` takes for a spec."""
    if isinstance(spec, dict):
        parts = {key: json_schema(part) for key, part in spec.items()}
        return {
            "type": "object",
            "properties": parts,
            "required": sorted(parts),
            "additionalProperties": False,
        }
    if isinstance(spec, tuple | list):
        size = {"minItems": len(spec), "maxItems": len(spec)}
        return {"type": "array", "prefixItems": [json_schema(part) for part in spec], **size}
    schema = _number_schema(spec)
    for size in reversed(spec.shape):
        schema = {"type": "array", "items": schema, "minItems": size, "maxItems": size}
    return schema | {"description": str(spec)}


def loads(body: bytes) -> dict[str, Any]:
    """The JSON object in a request's body; an empty body is `{}`.

    Raises:
      WireError: it is no JSON, or no object.
    """
    try:
        value = json.loads(body) if body else {}
    except (ValueError, RecursionError) as error:
        raise WireError(
            f"body: expected a JSON object, got what is no JSON: {str(error)[:200]}"
        ) from None
    if not isinstance(value, dict):
        raise WireError(f"body: expected a JSON object, got {_told(value)}")
    return value


def number(value: Any, name: str) -> float:
    """A finite number that fits into float32.

    Raises:
      WireError: it is something else.
    """
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not abs(value) <= float(np.finfo(np.float32).max)
    ):
        raise WireError(f"{name}: expected a finite number, got {_told(value)}")
    return float(value)


def pack_arrays(tree: Tree) -> bytes:
    """The leaves of a tree by name, in NumPy's `.npz` format (no pickle); typed random keys as
    their data.
    """
    leaves = {
        leaf_name(path): np.asarray(_data(leaf))
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]
    }
    buffer = io.BytesIO()
    np.savez(
        buffer, **{f"leaf:{name}": leaf for name, leaf in leaves.items()}
    )  # "file" would be taken for an argument
    return buffer.getvalue()


def unpack_arrays(data: bytes) -> dict[str, np.ndarray]:
    """The arrays of `pack_arrays` by name; what is pickled is refused."""
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return {name.removeprefix("leaf:"): arrays[name] for name in arrays.files}


def is_key(leaf: Any) -> bool:
    """Whether a leaf, or its shape, is of typed random keys."""
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _data(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if hasattr(leaf, "dtype") and is_key(leaf) else leaf


def _leaf_from_json(value: Any, spec: Spec, name: str, bounded: bool) -> np.ndarray:
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError, RecursionError):  # uneven nesting, or nested too deeply
        raise WireError(
            f"{name}: expected {spec}, got arrays of uneven lengths: {_told(value)}"
        ) from None
    kinds = "b" if spec.dtype == np.bool_ else "iuf"
    typed = (
        array.dtype.kind in kinds or not array.size
    )  # an empty array has no numbers to tell its type by
    if not typed or array.shape != spec.shape:
        raise WireError(
            f"{name}: expected {spec}, got {_told(value)}, {array.dtype}{list(array.shape)}"
        )
    whole = np.issubdtype(spec.dtype, np.integer)
    with np.errstate(over="ignore", invalid="ignore"):
        cast = array.astype(spec.dtype)
    if whole and not np.array_equal(cast.astype(np.float64), array.astype(np.float64)):
        raise WireError(f"{name}: expected whole numbers, {spec}, got {_told(value)}")
    try:
        specs_lib.validate(cast, _unbounded(spec) if not (whole or bounded) else spec, values=True)
    except SpecError as error:
        raise WireError(f"{name}: {str(error).removeprefix('value: ')}") from None
    return cast


def _unbounded(spec: Spec) -> Spec:
    return specs_lib.ArraySpec(spec.shape, spec.dtype)


def _number_schema(spec: Spec) -> dict[str, Any]:
    if spec.dtype == np.bool_:
        return {"type": "boolean"}
    schema: dict[str, Any] = {
        "type": "integer" if np.issubdtype(spec.dtype, np.integer) else "number"
    }
    if isinstance(spec, DiscreteSpec):
        return schema | {"minimum": 0, "maximum": int(np.max(spec.num_values)) - 1}
    if isinstance(spec, BoundedSpec):
        low, high = (
            float(np.min(spec.low, initial=math.inf)),
            float(np.max(spec.high, initial=-math.inf)),
        )
        schema |= {"minimum": low} if math.isfinite(low) else {}
        schema |= {"maximum": high} if math.isfinite(high) else {}
    return schema


def _told(value: Any) -> str:
    """A short description of JSON, for errors."""
    kinds = {
        dict: "an object",
        list: "an array",
        str: "a string",
        bool: "a boolean",
        type(None): "null",
    }
    text = repr(value) if isinstance(value, int | float | bool) else ""
    return text if text and len(text) < 40 else kinds.get(type(value), "a number too large")
