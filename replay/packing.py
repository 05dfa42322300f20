"""The packed layout of a row: one column of bytes for all small leaves, and one column for each
large one.

One module for every store and client, since it is what makes Reverb fast (one packed column is
sampled four times faster than four) and small, and what makes a gather from the in-process ring a
single `take`.
"""

import math
from typing import Any

import jax
import numpy as np

from ..envs.specs import EnvironmentSpecs, SpecError, leaf_name, validate
from ..envs.types import Tree

LARGE_LEAF_BYTES = 1024  # a leaf of this size keeps a column of its own, on device too


class RowLayout:
    """How rows that meet `spec` are packed.

    Args:
      spec: a tree of specs of one row.
      large_leaf_bytes: leaves of at least this many bytes keep a column of their own (images
        compress better so).

    Raises:
      TypeError: `spec` is that of something else.
    """

    def __init__(self, spec: Tree, large_leaf_bytes: int = LARGE_LEAF_BYTES):
        if isinstance(spec, EnvironmentSpecs):
            raise TypeError(
                "spec: expected that of a row, agent.collect_data_spec, got an environment's "
                "EnvironmentSpecs"
            )
        paths, treedef = jax.tree_util.tree_flatten_with_path(spec)
        self._treedef: Any = treedef
        self._spec = spec
        self._expected = [(tuple(leaf.shape), np.dtype(leaf.dtype)) for _, leaf in paths]
        sizes = [math.prod(shape) * dtype.itemsize for shape, dtype in self._expected]
        self._fields = [
            f"f{i}" if 0 < size < large_leaf_bytes else None for i, size in enumerate(sizes)
        ]
        self._record = np.dtype(
            [
                (name, dtype, shape)
                for name, (shape, dtype) in zip(self._fields, self._expected, strict=True)
                if name
            ]
        )
        self.names = [leaf_name(path) for path, _ in paths]
        self.row_bytes = sum(sizes)
        self.columns: dict[str, tuple[tuple[int, ...], np.dtype]] = {}
        if any(self._fields):
            self.columns["packed"] = ((self._record.itemsize,), np.dtype(np.uint8))
        self.columns |= {
            f"leaf{i}": self._expected[i] for i, name in enumerate(self._fields) if not name
        }

    def describe(self) -> list[str]:
        """Each leaf in words, such as `observation/camera: uint8[84,84]`: what two layouts must
        share to read each other.
        """
        pairs = zip(self.names, self._expected, strict=True)
        return [f"{name}: {dtype}[{','.join(map(str, shape))}]" for name, (shape, dtype) in pairs]

    def leaves(self, rows: Tree, batch_shape: tuple[int, ...] = ()) -> list[np.ndarray]:
        """The leaves `[*batch_shape, *spec.shape]` of `rows` in the spec's order, checked; cheap
        enough for every row.

        Raises:
          SpecError: naming the leaf, what was expected, what came, and the fix.
        """
        try:
            leaves = self._treedef.flatten_up_to(rows)
            if all(
                x.shape == batch_shape + shape and x.dtype == dtype
                for x, (shape, dtype) in zip(leaves, self._expected, strict=True)
            ):
                return leaves
        except (ValueError, TypeError, AttributeError):
            pass  # another structure, or leaves that are no arrays: `validate` says which
        validate(rows, self._spec, batch_ndim=len(batch_shape))
        leaves = [np.asarray(x) for x in self._treedef.flatten_up_to(rows)]
        for name, x, (shape, _) in zip(self.names, leaves, self._expected, strict=True):
            if x.shape != batch_shape + shape:
                raise SpecError(
                    f"{name}: expected the leading axes {batch_shape} that the other leaves have, "
                    f"got {x.shape}"
                )
        return leaves

    def allocate(self, rows: int) -> dict[str, np.ndarray]:
        """Columns for so many rows, zero, whose memory is taken only as they are written."""
        return {
            name: np.zeros((rows, *shape), dtype) for name, (shape, dtype) in self.columns.items()
        }

    def views(self, columns: dict[str, np.ndarray]) -> list[np.ndarray]:
        """The leaves `[..., *spec.shape]` of contiguous `columns` as views in the spec's order:
        writing to them packs.
        """
        record: Any = columns["packed"].view(self._record)[..., 0] if "packed" in columns else {}
        return [
            record[name] if name else columns[f"leaf{i}"] for i, name in enumerate(self._fields)
        ]

    def pack(self, rows: Tree) -> dict[str, np.ndarray]:
        """Packs rows with any leading axes `[...]` into a dict of columns
        `[..., *column shape]`.
        """
        leaves = self._treedef.flatten_up_to(rows)
        batch = np.shape(leaves[0])[: np.ndim(leaves[0]) - len(self._expected[0][0])]
        columns = {
            name: np.empty(batch + shape, dtype) for name, (shape, dtype) in self.columns.items()
        }
        for view, leaf in zip(self.views(columns), leaves, strict=True):
            view[...] = leaf
        return columns

    def unpack(self, columns: dict[str, np.ndarray]) -> Tree:
        """The inverse of `pack`: a tree of contiguous NumPy arrays. Small leaves are copies; large
        ones are as given.
        """
        if "packed" in columns:
            columns = columns | {"packed": np.ascontiguousarray(columns["packed"])}
        views = self.views(columns)
        return self._treedef.unflatten(
            [x.copy() if name else x for x, name in zip(views, self._fields, strict=True)]
        )
