"""The components of a training state as NumPy: out, in, and in checkpoints."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..envs.specs import leaf_name
from ..envs.types import Tree
from .checkpoint_files import is_key
from .checkpoints import Checkpointer
from .checks import check_finite

COMPONENTS = ("params", "target_params", "opt_state", "step", "key", "extra")


def chosen(
    kind: str, components: str | Sequence[str] | None, known: Sequence[str]
) -> tuple[str, ...]:
    """Returns the names of the components that are asked for.

    Args:
      kind: Word for what has these components, for the message.
      components: Name or several names; None stands for all.
      known: Names that there are.

    Raises:
      ValueError: if there is no such component.
    """
    if components is None:
        return tuple(known)
    names = (components,) if isinstance(components, str) else tuple(components)
    check_names(kind, names, known)
    return names


def check_names(kind: str, names: Iterable[str], known: Sequence[str]) -> None:
    """Raises a ValueError unless all names are known; `kind` is a word for the message."""
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"{kind}: no component {unknown}; there are {list(known)}")


def to_numpy(leaf: Any) -> np.ndarray:
    """Returns a copy of an array in NumPy; of a typed key its data."""
    return np.array(jax.device_get(jax.random.key_data(leaf) if is_key(leaf) else leaf))


def like(template: Tree, values: Tree, component: str) -> Tree:
    """Returns values as JAX arrays with the structure and the dtypes of a template.

    Args:
      template: Tree of JAX arrays.
      values: Tree of arrays, with the data of keys in place of keys.
      component: Name of the component, for the message.

    Raises:
      ValueError: if the values have another structure or shape.
    """
    treedef: Any
    wanted, treedef = jax.tree_util.tree_flatten_with_path(template)
    if jax.tree.structure(values) != treedef:
        raise ValueError(
            f"{component}: expected leaves {_names(template)}, got {_names(values)}; "
            "get_state gives what fits"
        )
    leaves = []
    for (path, leaf), value in zip(wanted, jax.tree.leaves(values), strict=True):
        data = jax.random.key_data(leaf) if is_key(leaf) else leaf
        if np.shape(value) != data.shape:
            name = leaf_name((jax.tree_util.DictKey(component), *path))
            raise ValueError(
                f"{name}: expected {data.dtype}{list(data.shape)}, got an array "
                f"{list(np.shape(value))}"
            )
        array = jnp.array(value, data.dtype)
        if is_key(leaf):
            array = jax.random.wrap_key_data(array, impl=jax.random.key_impl(leaf))
        leaves.append(array)
    return treedef.unflatten(leaves)


def _names(tree: Tree) -> list[str]:
    return [leaf_name(path) for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]]


def save(state: dict[str, Any], path: str | os.PathLike[str]) -> Path:
    """Writes components to a folder, whole or not at all.

    Args:
      state: Components, as from `StatefulLearner.get_state`.
      path: Folder; what was there is replaced.

    Returns:
      The folder.

    Raises:
      NonFiniteError: if parameters are not finite; what is in the folder stays.
    """
    check_finite(state, "the state is not saved")
    checkpointer = Checkpointer(path)
    checkpointer.replace(int(state["step"]), state)
    return checkpointer.folder


def restore(template: dict[str, Any], path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads components that `save` wrote, as NumPy; the template has their structure."""
    return jax.device_get(Checkpointer(path).restore(template)[0])
