"""Trees as a few vectors, which are cheap to pass to compiled functions.

The cost of a call from Python grows with the number of arrays, not with their size.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..envs.types import Array, Tree


class PackedTree:
    """A way to pack trees of one structure: one vector per dtype, typed keys as they are.

    Args:
      example: Tree of arrays or of their shapes.
      largest: Greatest number of elements of a leaf that is packed. Larger leaves stay as they are:
        to copy them costs more than to hand them over.
    """

    def __init__(self, example: Tree, largest: float = math.inf):
        leaves, treedef = jax.tree.flatten(example)
        self._treedef: Any = treedef
        self._shapes = [tuple(leaf.shape) for leaf in leaves]
        self._groups: dict[Any, list[int]] = {}
        is_key = [jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in leaves]
        self._single = [
            i for i, shape in enumerate(self._shapes) if is_key[i] or math.prod(shape) > largest
        ]
        for i, leaf in enumerate(leaves):
            if i not in self._single:
                self._groups.setdefault(np.dtype(leaf.dtype), []).append(i)

    def zeros(self) -> list[np.ndarray]:
        """Returns vectors of zeros on the host; leaves that are not packed are left out.

        `unpack` gives the leaves as views of them: writing to a view packs.
        """
        sizes = [math.prod(shape) for shape in self._shapes]
        return [
            np.zeros(sum(sizes[i] for i in group), dtype) for dtype, group in self._groups.items()
        ]

    def pack(self, tree: Tree) -> list[Array]:
        """Returns the tree as a list of vectors, and of leaves that are not packed; jit it."""
        leaves = self._treedef.flatten_up_to(tree)
        vectors = [
            jnp.concatenate([jnp.ravel(leaves[i]) for i in group])
            for group in self._groups.values()
        ]
        return vectors + [leaves[i] for i in self._single]

    def unpack(self, vectors: list[Array]) -> Tree:
        """Returns the tree that `pack` got."""
        leaves: list[Any] = [None] * len(self._shapes)
        for vector, group in zip(vectors, self._groups.values(), strict=False):
            start = 0
            for i in group:
                stop = start + math.prod(self._shapes[i])
                leaves[i] = vector[start:stop].reshape(self._shapes[i])
                start = stop
        for i, leaf in zip(self._single, vectors[len(self._groups) :], strict=True):
            leaves[i] = leaf
        return self._treedef.unflatten(leaves)
