"""Weights as NumPy trees: exported, set, and imported, with errors that name what differs.

The statistics of an agent's normalisers belong to them.
"""

import difflib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...agents.agent import TrainState
from ...agents.normalizing import STATISTICS, learned, with_learned
from ...envs.specs import leaf_name
from ...learners.formats import STAMP, FormatError, check_format

_STAMP = "jax_agents"  # the name under which a file of ours has it


class WeightsError(ValueError):
    """Weights that do not fit; the message names each leaf that differs."""


def get_weights(state: TrainState) -> dict[str, Any]:
    """Returns the parameters by role and the normalisers' statistics, as NumPy arrays of their own.

    `{"q": {"params": {"Dense_0": {"kernel": ...}}}}` is the form of DQN's. An agent that normalises
    observations or rewards has `"observation_statistics"` or `"return_statistics"` too, each a dict
    of `count`, `mean` and `variance`.
    """
    return jax.tree.map(np.array, jax.device_get(learned(state)))


def set_weights(state: TrainState, weights: Any) -> TrainState:
    """The state with other weights: `get_weights`' tree, or a dict by q/params/Dense_0/kernel.

    Target networks become copies of them, as in a fresh state; the optimizer's state and the update
    count stay.

    Raises:
      WeightsError: a leaf is missing, unknown, of another shape, or no number, also one of a
        normaliser's statistics; nothing is changed then.
    """
    treedef: Any
    leaves, treedef = jax.tree_util.tree_flatten_with_path(learned(state))
    wanted = {leaf_name(path): leaf for path, leaf in leaves}
    given = _flat(weights)
    problems = [
        problem for name, leaf in wanted.items() if (problem := _problem(name, leaf, given))
    ]
    problems += [
        f"{name}: not expected{_near(name, set(wanted) - set(given))}"
        for name in given
        if name not in wanted
    ]
    if problems:
        told = "\n".join(problems) + _about_statistics(wanted, given)
        raise WeightsError(f"weights: {len(problems)} of {len(wanted)} leaves do not fit:\n{told}")
    weights = treedef.unflatten(
        [jnp.array(given[name], leaf.dtype) for name, leaf in wanted.items()]
    )
    return with_learned(state, weights)


def import_weights(state: TrainState, source: Any) -> TrainState:
    """Returns the state with weights from outside: a file, or a tree as `set_weights` takes it.

    Args:
      state: State whose parameters are replaced.
      source: Path of a `.npz` file (an array for each name, as `export_weights` writes it), path of
        a `.msgpack` file (flax's), or the weights themselves. Nothing is unpickled.

    Raises:
      FileNotFoundError: if there is no such file.
      WeightsError: if it cannot be read, is of another kind or format, or does not fit.
    """
    return set_weights(
        state, read_weights(source) if isinstance(source, str | os.PathLike) else source
    )


def export_weights(state: TrainState, path: str | os.PathLike[str]) -> Path:
    """Writes what `get_weights` returns as a `.npz` file, an array for each name.

    Returns the path.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise ValueError(f"path: expected a name that ends in .npz, got {path}")
    weights = _flat(get_weights(state))
    with open(path, "wb") as file:
        np.savez(file, **weights, **{_STAMP: json.dumps(STAMP)})
    return path


def read_weights(path: str | os.PathLike[str]) -> Any:
    """The weights in a `.npz` or `.msgpack` file, as a (flat or nested) dict.

    Raises:
      FileNotFoundError: there is no such file.
      WeightsError: it cannot be read, or is of another kind.
    """
    path = Path(path)
    if path.suffix not in (".npz", ".msgpack"):
        raise WeightsError(
            f"{path}: expected a .npz or .msgpack file; "
            "other kinds can be read and given as a dict of arrays"
        )
    data = path.read_bytes()
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                weights = dict(arrays)
            if _STAMP in weights:  # files that something else wrote have none
                check_format(path, json.loads(str(weights.pop(_STAMP))))
            return weights
        from flax import serialization

        return serialization.msgpack_restore(data)
    except FormatError as error:
        raise WeightsError(str(error)) from error
    except Exception as error:  # whatever a damaged file makes of its reader
        raise WeightsError(f"{path} cannot be read: {type(error).__name__}: {error}") from error


def _flat(weights: Any) -> dict[str, Any]:
    leaves = jax.tree_util.tree_flatten_with_path(weights, is_leaf=lambda x: x is None)[0]
    named = {leaf_name(path): leaf for path, leaf in leaves}
    return {name: leaf for name, leaf in named.items() if name != _STAMP}


def _problem(name: str, leaf: Any, given: Mapping[str, Any]) -> str | None:
    expected = f"{name}: expected {leaf.dtype}{list(leaf.shape)}"
    if name not in given:
        return f"{expected}, got nothing{_near(name, given)}"
    value = np.asarray(given[name])
    if value.shape != leaf.shape:
        return f"{expected}, got {value.dtype}{list(value.shape)}"
    if not np.issubdtype(value.dtype, np.number) or not np.isfinite(value).all():
        return f"{expected}, got what are not all finite numbers, {value.dtype}"
    return None


def _about_statistics(wanted: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """What to do about statistics that are missing as a whole, or superfluous; "" if none are."""
    has = lambda names, kind: any(name.split("/")[0] == kind for name in names)
    missing = [kind for kind in STATISTICS if has(wanted, kind) and not has(given, kind)]
    superfluous = [kind for kind in STATISTICS if has(given, kind) and not has(wanted, kind)]
    if missing:
        return (
            f"\nThis agent normalises, and the weights have no {' and no '.join(missing)}: export "
            "them again, or, to keep the agent's own, merge: get_weights() | weights"
        )
    if superfluous:
        return (
            f"\nThe weights are of an agent that normalises ({', '.join(superfluous)}), and this "
            "one does not: build it with normalize_observations and normalize_rewards as there"
        )
    return ""


def _near(name: str, names: Any) -> str:
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"; the nearest is {near[0]}" if near else ""
