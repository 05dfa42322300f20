"""The files of a checkpoint: the arrays of a state, digests, and what makes them durable."""

import contextlib
import errno
import hashlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..envs.specs import leaf_name
from ..envs.types import Tree


def write_state(path: Path, state: Tree) -> None:
    """Writes a tree of arrays, among them typed random keys, to the folder `path`.

    Nothing is written for a tree without leaves, of which `read_state` gives the template.
    """
    if not jax.tree.leaves(state):
        return
    import orbax.checkpoint as ocp  # takes two seconds

    with _no_log(), ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
        checkpointer.save(path, args=ocp.args.StandardSave(jax.tree.map(_to_file, state)))


def read_state(path: Path, template: Tree) -> Tree:
    """Reads what `write_state` wrote; the template has its structure, shapes and dtypes."""
    if not jax.tree.leaves(template):
        return template
    import orbax.checkpoint as ocp

    with _no_log(), ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
        saved = checkpointer.restore(
            path, args=ocp.args.StandardRestore(jax.tree.map(_to_file, template))
        )
    return jax.tree.map(_from_file, template, saved)


@contextlib.contextmanager
def _no_log() -> Iterator[None]:
    """Keeps orbax from logging, once for each of its threads, the errors that it raises anyhow."""
    logger = logging.getLogger("absl")
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before


def is_key(leaf: Any) -> bool:
    """Returns True for typed random keys."""
    dtype: Any = getattr(leaf, "dtype", None)
    return jnp.issubdtype(dtype, jax.dtypes.prng_key)


def _to_file(leaf: Any) -> np.ndarray:
    # As key data, since not every orbax knows typed keys; and none stores an array of size 0.
    array = np.asarray(jax.device_get(jax.random.key_data(leaf) if is_key(leaf) else leaf))
    return array if array.size else np.zeros(1, array.dtype)


def _from_file(template: Any, saved: np.ndarray) -> jax.Array:
    if is_key(template):
        return jax.random.wrap_key_data(jnp.asarray(saved), impl=jax.random.key_impl(template))
    return jnp.asarray(saved) if np.size(template) else jnp.asarray(template)


def describe_leaves(state: Tree) -> dict[str, str]:
    """Returns the dtype and shape of each leaf, such as "float32[3, 4]", by the leaf's name."""
    leaves = jax.tree_util.tree_flatten_with_path(state)[0]
    return {
        leaf_name(path): f"{jnp.asarray(leaf).dtype}{list(np.shape(leaf))}" for path, leaf in leaves
    }


def digests(folder: Path, hashed: str) -> dict[str, str]:
    """Returns the sizes of all files in a folder, and the SHA-256 of some, by their paths.

    Args:
      folder: Folder of a checkpoint.
      hashed: Name of the subfolder whose files are hashed; others are large, and have check sums of
        their own.
    """
    return {
        str(path.relative_to(folder)): _digest(path, path.is_relative_to(folder / hashed))
        for path in _files(folder)
    }


def check_digests(folder: Path, expected: dict[str, str], hashed: str) -> None:
    """Raises a ValueError unless the files are those of which `digests` gave `expected`."""
    for name, digest in expected.items():
        path = folder / name
        if not path.is_file():
            raise ValueError(f"{path} is missing")
        if _digest(path, path.is_relative_to(folder / hashed)) != digest:
            raise ValueError(f"{path} is damaged: it is not what was written")


def _digest(path: Path, hashed: bool) -> str:
    size = str(path.stat().st_size)
    return f"{size} {hashlib.sha256(path.read_bytes()).hexdigest()}" if hashed else size


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def sync(folder: Path) -> None:
    """Waits until all files and folders in a folder are on the disk."""
    for path in _files(folder):
        with open(path, "rb") as file:
            os.fsync(file.fileno())
    for path in [folder, *(p for p in folder.rglob("*") if p.is_dir())]:
        sync_folder(path)


def sync_folder(folder: Path) -> None:
    """Waits until the list of what is in a folder is on the disk."""
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def is_disk_error(error: Exception) -> bool:
    """Returns True for errors of the disk, such as a full one."""
    # orbax reports what its C++ code met as a ValueError or RuntimeError with the system's words in
    # it.
    return isinstance(error, OSError) or os.strerror(errno.ENOSPC) in str(error)
