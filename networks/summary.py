"""Counts and tabulates the parameters of networks."""

from typing import Any

import jax

from ..envs import specs as specs_lib
from ..envs.types import Tree, split_action_mask


def num_params(params: Tree) -> int:
    """Returns the number of numbers in a tree of parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def tabulate(network: Any, observation_spec: Tree) -> str:
    """Returns a table of a network's parameters: name, shape and count of each, and the total.

    >>> from jax_agents.envs.specs import ArraySpec
    >>> from jax_agents.networks import QNetwork
    >>> print(tabulate(QNetwork(2, hidden=(100, 50)), ArraySpec((4,))))
    parameter             shape   count
    Dense_0/bias          2           2
    Dense_0/kernel        50x2      100
    MLP_0/Dense_0/bias    100       100
    MLP_0/Dense_0/kernel  4x100     400
    MLP_0/Dense_1/bias    50         50
    MLP_0/Dense_1/kernel  100x50   5000
    total                          5652
    """
    variables = jax.eval_shape(
        network.init, jax.random.key(0), specs_lib.zeros(split_action_mask(observation_spec)[0])
    )
    return tabulate_params(variables["params"])


def tabulate_params(params: Tree) -> str:
    """Returns the table of `tabulate` for parameters, arrays or their shapes."""
    rows = [
        (specs_lib.leaf_name(path), "x".join(map(str, leaf.shape)) or "scalar", str(leaf.size))
        for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]
    ]
    rows = [("parameter", "shape", "count"), *rows, ("total", "", str(num_params(params)))]
    names, shapes, counts = (max(len(row[i]) for row in rows) for i in range(3))
    return "\n".join(
        f"{name:<{names}}  {shape:<{shapes}}  {count:>{counts}}" for name, shape, count in rows
    )
