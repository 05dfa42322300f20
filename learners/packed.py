"""A tree as a few vectors: the cost of a call from Python grows with its number of arrays, not with their size."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..envs.types import Array, Tree


class Packing:
    """How trees like `example` (arrays or their shapes) are packed: one vector per dtype, typed keys as they are."""

    def __init__(self, example: Tree):
        leaves, treedef = jax.tree.flatten(example)
        self._treedef: Any = treedef
        self._shapes = [tuple(leaf.shape) for leaf in leaves]
        self._groups: dict[Any, list[int]] = {}
        self._single = [i for i, leaf in enumerate(leaves) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)]
        for i, leaf in enumerate(leaves):
            if i not in self._single:
                self._groups.setdefault(np.dtype(leaf.dtype), []).append(i)

    def pack(self, tree: Tree) -> list[Array]:
        """The tree as a list of vectors; jit it."""
        leaves = self._treedef.flatten_up_to(tree)
        vectors = [jnp.concatenate([jnp.ravel(leaves[i]) for i in group]) for group in self._groups.values()]
        return vectors + [leaves[i] for i in self._single]

    def unpack(self, vectors: list[Array]) -> Tree:
        """The inverse of `pack`."""
        leaves: list[Any] = [None] * len(self._shapes)
        for vector, group in zip(vectors, self._groups.values(), strict=False):
            start = 0
            for i in group:
                stop = start + int(np.prod(self._shapes[i], dtype=np.int64))
                leaves[i] = vector[start:stop].reshape(self._shapes[i])
                start = stop
        for i, leaf in zip(self._single, vectors[len(self._groups) :], strict=True):
            leaves[i] = leaf
        return self._treedef.unflatten(leaves)
