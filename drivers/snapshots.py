"""Snapshots of parameters in one file: arrays, and JSON that says how they hang together.

The file is NumPy's `.npz`. Nothing in it is code: reading one runs nothing.
"""

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..envs.types import Tree
from ..networks.normalizer import RunningStatistics

FORMAT = 1
_META = "meta"
# What is no dict, list or tuple has to be named here: classes are not imported from a file.
_CLASSES: dict[str, Any] = {"RunningStatistics": RunningStatistics}


def write(path: Path, version: int, params: Tree) -> None:
    """Writes a snapshot, which replaces the file in one step when it is on the disk.

    Args:
      path: File.
      version: Version of the parameters.
      params: Tree of arrays.

    Raises:
      TypeError: if the tree has nodes that a snapshot cannot hold.
      OSError: if it could not be written; the file is as it was.
    """
    leaves: list[np.ndarray] = []
    tree = _describe(params, leaves, "parameters")
    meta = {"format": FORMAT, "version": int(version), "tree": tree}
    arrays = {_META: np.frombuffer(json.dumps(meta).encode(), np.uint8)}
    # As bytes: NumPy's format does not know bfloat16.
    arrays |= {str(i): leaf.reshape(-1).view(np.uint8) for i, leaf in enumerate(leaves)}
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.partial")
    try:
        with open(draft, "wb") as file:
            with zipfile.ZipFile(file, "w") as archive:
                for name, array in arrays.items():
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                        np.lib.format.write_array(member, array, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def read(path: Path) -> tuple[int, Tree]:
    """Returns the version and the parameters that `write` wrote.

    Raises:
      ValueError: if the file is no snapshot, is damaged, or has another format.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError("it is a single array")
            arrays = {name: file[name] for name in file.files}
        meta = json.loads(arrays[_META].tobytes())
        if meta["format"] != FORMAT:
            raise ValueError(f"its format is {meta['format']}, expected {FORMAT}")
        return int(meta["version"]), _build(meta["tree"], arrays)
    except (zipfile.BadZipFile, EOFError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is no snapshot that can be read ({error}); delete it, or name another file. "
            "Those of versions before 0.1.0 were pickles, which are not opened"
        ) from error


def _describe(tree: Tree, leaves: list[np.ndarray], name: str) -> Any:
    """Returns a tree's structure as JSON, and adds its leaves to `leaves`."""
    if tree is None:
        return None
    if isinstance(tree, np.ndarray):
        leaves.append(np.ascontiguousarray(tree))
        return {"array": len(leaves) - 1, "dtype": tree.dtype.name, "shape": list(tree.shape)}
    for kind, known in _CLASSES.items():
        if type(tree) is known:
            return {kind: _describe(vars(tree), leaves, name)}
    if isinstance(tree, dict) and all(isinstance(key, str) for key in tree):
        return {"dict": {key: _describe(tree[key], leaves, f"{name}/{key}") for key in tree}}
    if type(tree) in (list, tuple):
        parts = [_describe(part, leaves, f"{name}/{i}") for i, part in enumerate(tree)]
        return {type(tree).__name__: parts}
    raise TypeError(
        f"{name}: a snapshot holds arrays in dicts by name, lists, tuples and "
        f"{', '.join(_CLASSES)}, got {type(tree).__name__}; send the parameters in such, or leave "
        "out the path"
    )


def _build(node: Any, arrays: dict[str, np.ndarray]) -> Tree:
    if node is None:
        return None
    if "array" in node:
        dtype = jnp.dtype(node["dtype"])
        return arrays[str(node["array"])].view(dtype).reshape(node["shape"])
    ((kind, value),) = node.items()
    if kind == "dict":
        return {key: _build(part, arrays) for key, part in value.items()}
    if kind in ("list", "tuple"):
        parts = [_build(part, arrays) for part in value]
        return parts if kind == "list" else tuple(parts)
    return _CLASSES[kind](**_build(value, arrays))
