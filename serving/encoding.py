"""The encoding of trees as JSON and of arrays as `.npz`, with the standard library and NumPy alone.

Clients that get their actions from a server need nothing else. `messages` has the functions that
check what came against specs.
"""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np

_PREFIX = "leaf:"  # without it, NumPy would take an array called "file" for an argument


def to_json(tree: Any) -> Any:
    """Returns a tree of arrays and numbers as `json.dumps` takes it.

    Arrays, JAX's too, become nested lists, and lose their dtypes; tuples become lists.
    """
    if isinstance(tree, Mapping):
        return {str(key): to_json(value) for key, value in tree.items()}
    if isinstance(tree, tuple | list):
        return [to_json(value) for value in tree]
    return np.asarray(tree).tolist() if hasattr(tree, "__array__") else tree


def from_json(value: Any) -> Any:
    """Returns a JSON value with a NumPy array in place of each of its lists.

    A list that holds a float becomes float32, as observations and actions are; others get the dtype
    that NumPy gives them. Numbers outside lists stay as they are.
    """
    if isinstance(value, dict):
        return {key: from_json(part) for key, part in value.items()}
    if isinstance(value, list):
        return np.asarray(value, np.float32 if _holds_floats(value) else None)
    return value


def pack_arrays(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Returns named arrays in NumPy's `.npz` format, without pickle."""
    buffer = io.BytesIO()
    np.savez(buffer, **{_PREFIX + name: array for name, array in arrays.items()})
    return buffer.getvalue()


def unpack_arrays(data: bytes) -> dict[str, np.ndarray]:
    """Returns the arrays that `pack_arrays` packed, by name.

    Raises:
      ValueError: if the file holds a pickled object, which is not loaded.
    """
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return {name.removeprefix(_PREFIX): arrays[name] for name in arrays.files}


def _holds_floats(value: Any) -> bool:
    """Returns True for a float, or for a list that holds one at any depth."""
    return any(map(_holds_floats, value)) if isinstance(value, list) else isinstance(value, float)
