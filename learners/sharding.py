"""A batch in parts for several learners, and the mean of what they make of them."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..envs.types import Array, Tree


class Part(NamedTuple):
    """A learner's part of a batch: leaves `[S, ...]` and weights `[S]`, of which `size` count; the
    first one's index.
    """

    batch: Tree
    weights: np.ndarray | None
    first: int
    size: int


def split_batch(batch: Tree, weights: Array | None, count: int) -> list[Part]:
    """A batch `[B, ...]` in `count` parts of sizes that differ by 1 at most, padded to one shape by
    examples of weight 0.

    A part's loss divides by the padded size, so its weights are scaled by padded size / size: its
    loss is its examples' mean.

    Raises:
      ValueError: if the batch is empty, or its leaves differ in B.
    """
    batch = jax.device_get(batch)
    sizes = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(batch)}
    if len(sizes) != 1 or sizes in ({()}, {(0,)}):
        raise ValueError(
            f"batch: expected leaves [B, ...] of one B >= 1, got leading axes {sorted(sizes)}"
        )
    ((total,),) = sizes
    padded, parts = -(-total // count), []
    for index in range(count):
        first, stop = index * total // count, (index + 1) * total // count
        size = stop - first
        chosen = np.minimum(
            np.arange(first, first + padded), total - 1
        )  # any valid example will do
        part_weights = None
        if weights is not None or total % count:
            part_weights = np.zeros(padded, np.float32)
            given = 1.0 if weights is None else np.asarray(weights)[first:stop]
            part_weights[:size] = given * np.float32(padded / max(size, 1))
        parts.append(
            Part(
                jax.tree.map(lambda x, i=chosen: np.asarray(x)[i], batch), part_weights, first, size
            )
        )
    return parts


def weighted_average(trees: Sequence[Tree], sizes: Sequence[int]) -> Tree:
    """The mean of trees of NumPy arrays, weighted by sizes; those of size 0 are not looked at."""
    counted = [
        (tree, np.float32(size / sum(sizes)))
        for tree, size in zip(trees, sizes, strict=True)
        if size
    ]
    shares = [share for _, share in counted]
    mean = lambda *leaves: sum(x * share for x, share in zip(leaves, shares, strict=True)).astype(
        leaves[0].dtype
    )
    return jax.tree.map(mean, *(tree for tree, _ in counted))


def pad_batch(experience: Tree, weights: Array | None, multiple: int) -> tuple[Tree, Array | None]:
    """Pads a batch `[B, ...]` to a multiple, with examples of weight 0.

    Losses divide by the padded size, so the others' weights are scaled by padded size / B: the loss
    stays what it was.
    """
    size = np.shape(jax.tree.leaves(experience)[0])[0]
    extra = -size % multiple
    if not extra:
        return experience, weights
    scale = (size + extra) / size
    weights = np.ones(size, np.float32) if weights is None else weights
    weights = jnp.concatenate([jnp.asarray(weights) * scale, jnp.zeros(extra, jnp.float32)])
    index = np.minimum(np.arange(size + extra), size - 1)  # any valid example will do
    return jax.tree.map(lambda x: jnp.asarray(x)[index], experience), weights
