"""The parameters of a policy as arrays by name: the form in which clients that act receive them."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from ..envs.specs import leaf_name
from ..envs.types import Tree


def named_arrays(params: Tree) -> dict[str, np.ndarray]:
    """Returns the leaves of a tree by name, with the data of typed random keys in their place."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(params)
    return {
        leaf_name(path): np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)
        for path, leaf in leaves
    }


def fill(template: Tree, arrays: Mapping[str, np.ndarray]) -> Tree:
    """Returns a tree of the template's structure that holds the arrays of `named_arrays`.

    Args:
      template: Tree of arrays, or of their shapes and dtypes.
      arrays: Arrays by name.

    Raises:
      ValueError: if names, shapes or dtypes differ from the template's.
    """
    leaves, treedef = jax.tree_util.tree_flatten_with_path(template)
    named = {leaf_name(path): leaf for path, leaf in leaves}
    wanted = {name: _shape_and_dtype(leaf) for name, leaf in named.items()}
    given = {name: (array.shape, array.dtype) for name, array in arrays.items()}
    if wanted != given:
        differ = sorted(name for name in wanted | given if wanted.get(name) != given.get(name))
        first = differ[0]
        raise ValueError(
            f"the server's parameters are not those of this client's agent: {first} is "
            f"{given.get(first, 'missing')} there, {wanted.get(first, 'missing')} here "
            f"({len(differ)} differ); build the agent as the server does"
        )
    values = [jax.numpy.asarray(arrays[name]) for name in named]
    filled = [
        jax.random.wrap_key_data(value) if _is_key(leaf) else value
        for leaf, value in zip(named.values(), values, strict=True)
    ]
    return jax.tree.unflatten(treedef, filled)


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _shape_and_dtype(leaf: Any) -> tuple[tuple[int, ...], np.dtype]:
    data = jax.eval_shape(jax.random.key_data, leaf) if _is_key(leaf) else leaf
    return data.shape, data.dtype
