"""A server of the newest parameters for acting."""

import os
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ..envs.types import Tree
from . import snapshots


class ParameterServer:
    """Keeps the newest version of the parameters, and gives it to those that have an older one.

    A version is any number that grows, such as the number of updates. With `path` it writes
    snapshots there, and starts from the last one. A snapshot holds arrays and JSON (`snapshots`).

    Args:
      path: File for snapshots; None writes none.
      save_seconds: Least number of seconds between two snapshots.

    Attributes:
      version: Version of the parameters that it has; -1 before there are any.

    Raises:
      ValueError: if the file is there and is no snapshot.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None, *, save_seconds: float = 5.0):
        self.version = -1
        self._params: Tree = None
        self._path = None if path is None else Path(path)
        self._save_seconds = save_seconds
        self._saved_at = float("-inf")
        # The first version pushed here may be older than the snapshot's: a learner that resumes.
        self._least = -1
        if self._path is not None and self._path.exists():
            self.version, self._params = snapshots.read(self._path)

    def push(self, version: int, params: Tree, *, wait: bool = True) -> bool:
        """Publishes parameters.

        The first push after a start is taken even if a snapshot is newer, since a learner may
        resume from before it.

        Args:
          version: Version of the parameters.
          params: Parameters, of which a copy is kept, as NumPy.
          wait: Ignored here; it is for `RemoteParameterServer`.

        Returns:
          True if they were published; False if this version had been pushed already.

        Raises:
          ValueError: if the version is older than the last one pushed, or negative.
          TypeError: if a leaf is a typed random key.
        """
        if version < max(0, self._least):
            raise ValueError(
                f"version {version} is older than {self._least}, which was pushed before; "
                "versions must grow"
            )
        if version == self._least:
            return False
        self._params = to_host(params)
        self.version = self._least = version
        if self._path is not None and time.monotonic() - self._saved_at >= self._save_seconds:
            self.save()
        return True

    def pull_if_newer(self, have: int = -1) -> tuple[int, Tree] | None:
        """Returns the newest version and its parameters (NumPy, not to be written to).

        Args:
          have: Version that the caller has. None is returned unless it is older than the newest.
        """
        return (self.version, self._params) if self.version > have else None

    def save(self) -> None:
        """Writes a snapshot, which replaces the file in one step when it is on the disk.

        Raises:
          ValueError: if there is no path.
          TypeError: if the parameters have nodes that a snapshot cannot hold.
        """
        if self._path is None:
            raise ValueError("this ParameterServer has no path to save to; pass path=...")
        snapshots.write(self._path, self.version, self._params)
        self._saved_at = time.monotonic()

    def close(self) -> None:
        """Writes the last snapshot, if there is a path for it."""
        if self._path is not None and self.version >= 0:
            self.save()


def to_host(tree: Tree) -> Tree:
    """Returns a copy of the tree whose leaves are NumPy arrays.

    Args:
      tree: Tree of arrays.

    Raises:
      TypeError: if a leaf is a typed random key; send `jax.random.key_data(key)`.
    """

    def copy(path: Any, leaf: Any) -> np.ndarray:
        if jax.dtypes.issubdtype(getattr(leaf, "dtype", np.float32), jax.dtypes.prng_key):
            name = jax.tree_util.keystr(path)
            raise TypeError(
                f"parameters{name}: expected arrays, got a typed random key; send "
                "jax.random.key_data(key)"
            )
        return np.array(leaf)  # a copy, since JAX's memory may be donated

    return jax.tree_util.tree_map_with_path(copy, tree)
