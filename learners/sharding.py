"""Batches in parts for several learners or updates, and the mean of the parts' results."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from ..envs.types import Array, Tree


class Part(NamedTuple):
    """A learner's part of a batch.

    Attributes:
      batch: Leaves `[S, ...]`.
      weights: Weights of the examples, `[S]`, or None.
      first: Index in the whole batch of the first example.
      size: Number of the examples that count, at most S.
    """

    batch: Tree
    weights: np.ndarray | None
    first: int
    size: int


def split_evenly(batch: Tree, count: int) -> Tree:
    """Returns a batch `[B, ...]` as `[count, B / count, ...]`; `count` divides B."""
    return jax.tree.map(lambda x: x.reshape(count, -1, *x.shape[1:]), batch)


def pad_batch(batch: Tree, weights: Array | None, multiple: int) -> tuple[Tree, Array | None]:
    """Pads a batch to a multiple with examples of weight 0, and keeps its loss.

    A loss divides by the padded size, so the weights of the others are scaled by padded size / B.

    Args:
      batch: Tree of arrays `[B, ...]`, NumPy's or JAX's.
      weights: Weights of the examples, `[B]`; None stands for 1.
      multiple: Number that divides the padded size.

    Returns:
      The padded batch and its weights; both as they were given if B is such a multiple.
    """
    size = np.shape(jax.tree.leaves(batch)[0])[0]
    extra = -size % multiple
    if not extra:
        return batch, weights
    weights = np.ones(size, np.float32) if weights is None else np.asarray(weights)
    return _take_padded(batch, weights, slice(0, size), size + extra)


def split_batch(batch: Tree, weights: Array | None, count: int) -> list[Part]:
    """Splits a batch into parts whose sizes differ by 1 at most, padded to one shape.

    Args:
      batch: Tree of arrays `[B, ...]`.
      weights: Weights of the examples, `[B]`; None stands for 1.
      count: Number of parts.

    Returns:
      `count` parts, as NumPy. All have weights if any is padded. With fewer examples than parts
      some parts have a size of 0.

    Raises:
      ValueError: if the batch is empty, or its leaves differ in B.
    """
    batch = jax.tree.map(np.asarray, jax.device_get(batch))
    sizes = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(batch)}
    if len(sizes) != 1 or sizes in ({()}, {(0,)}):
        raise ValueError(
            f"batch: expected leaves [B, ...] of one B >= 1, got leading axes {sorted(sizes)}"
        )
    ((total,),) = sizes
    if weights is not None or total % count:
        weights = np.ones(total, np.float32) if weights is None else np.asarray(weights)
    parts = []
    for index in range(count):
        first = index * total // count
        stop = (index + 1) * total // count
        part = _take_padded(batch, weights, slice(first, stop), -(-total // count))
        parts.append(Part(*part, first, stop - first))
    return parts


def _take_padded(
    batch: Tree, weights: np.ndarray | None, rows: slice, size: int
) -> tuple[Tree, np.ndarray | None]:
    """Takes some examples of a batch, and any others with weight 0 up to a size."""
    total = np.shape(jax.tree.leaves(batch)[0])[0]
    index = np.minimum(np.arange(rows.start, rows.start + size), total - 1)
    padded = None
    if weights is not None:
        count = rows.stop - rows.start
        padded = np.zeros(size, np.float32)
        padded[:count] = weights[rows] * np.float32(size / max(count, 1))
    return jax.tree.map(lambda x: x[index], batch), padded


def weighted_average(trees: Sequence[Tree], sizes: Sequence[int]) -> Tree:
    """Returns the mean of trees of NumPy arrays, weighted by sizes.

    Args:
      trees: Trees of one structure.
      sizes: Size of each part; trees of size 0 are ignored.
    """
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
