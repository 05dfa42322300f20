"""The packed layout of a row: a column of bytes for all small leaves, and one for each large leaf.

Every store and client uses it, since it makes Reverb fast (one packed column is sampled four times
faster than four) and small, and makes a gather from the ring in this process a single `take`.
"""

import math
from typing import Any

import jax
import numpy as np

from ..envs.checks import check_discount, check_row_spec
from ..envs.specs import EnvironmentSpecs, SpecError, leaf_name, validate
from ..envs.types import Trajectory, Tree

LARGE_LEAF_BYTES = 1024  # a leaf of this size keeps a column of its own, on device too
SMALL_ROW_BYTES = 1024  # below it rows are small: two clients of a table must agree


class RowLayout:
    """The layout in which rows that meet `spec` are packed.

    Args:
      spec: Tree of specs of one row.
      large_leaf_bytes: Number of bytes from which on a leaf keeps a column of its own (images
        compress better so).

    Raises:
      TypeError: `spec` describes an environment.
      SpecError: It describes no rows that an agent could learn from.
    """

    def __init__(self, spec: Tree, large_leaf_bytes: int = LARGE_LEAF_BYTES):
        if isinstance(spec, EnvironmentSpecs):
            raise TypeError(
                "spec: expected that of a row, agent.collect_data_spec, "
                "got an environment's EnvironmentSpecs"
            )
        check_row_spec(spec)
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
        self._discount = self.names.index("discount") if isinstance(spec, Trajectory) else None
        self.row_bytes = sum(sizes)
        self.columns: dict[str, tuple[tuple[int, ...], np.dtype]] = {}
        if any(self._fields):
            self.columns["packed"] = ((self._record.itemsize,), np.dtype(np.uint8))
        self.columns |= {
            f"leaf{i}": self._expected[i] for i, name in enumerate(self._fields) if not name
        }

    @property
    def is_small(self) -> bool:
        """True for rows that are stored better many together than one by one."""
        return self.row_bytes < SMALL_ROW_BYTES

    def describe(self) -> list[str]:
        """Returns each leaf in words, such as `observation/camera: uint8[84,84]`.

        Layouts with the same words can read each other's rows.
        """
        pairs = zip(self.names, self._expected, strict=True)
        return [f"{name}: {dtype}[{','.join(map(str, shape))}]" for name, (shape, dtype) in pairs]

    def leaves(self, rows: Tree, batch_shape: tuple[int, ...] = ()) -> list[np.ndarray]:
        """Returns the checked leaves `[*batch_shape, *spec.shape]` of `rows` in the spec's order.

        It is cheap enough for every row.

        Raises:
          SpecError: A leaf does not meet its spec; the message names it and the fix.
        """
        try:
            leaves = self._treedef.flatten_up_to(rows)
            if all(
                x.shape == batch_shape + shape and x.dtype == dtype
                for x, (shape, dtype) in zip(leaves, self._expected, strict=True)
            ):
                self._check_discount(leaves)
                return leaves
        except SpecError:
            raise
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
        self._check_discount(leaves)
        return leaves

    def _check_discount(self, leaves: list[np.ndarray]) -> None:
        if self._discount is None:
            return
        number = leaves[self._discount]
        # Python's floats: NumPy takes several times as long for a few numbers.
        if number.ndim == 0 and 0.0 <= number.item() <= 1.0:
            return
        if number.ndim == 1 and len(number) <= 32 and all(0.0 <= x <= 1.0 for x in number.tolist()):
            return
        check_discount(number, "row")

    def allocate(self, rows: int) -> dict[str, np.ndarray]:
        """Returns zero columns of `rows` rows, whose memory is taken only as they are written."""
        return {
            name: np.zeros((rows, *shape), dtype) for name, (shape, dtype) in self.columns.items()
        }

    def views(self, columns: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Returns the leaves `[..., *spec.shape]` of contiguous `columns` in the spec's order.

        They are views: writing to them packs.
        """
        record: Any = columns["packed"].view(self._record)[..., 0] if "packed" in columns else {}
        return [
            record[name] if name else columns[f"leaf{i}"] for i, name in enumerate(self._fields)
        ]

    def pack(self, rows: Tree) -> dict[str, np.ndarray]:
        """Packs rows with any leading axes `[...]` into columns `[..., *column shape]` by name."""
        leaves = self._treedef.flatten_up_to(rows)
        batch = np.shape(leaves[0])[: np.ndim(leaves[0]) - len(self._expected[0][0])]
        columns = {
            name: np.empty(batch + shape, dtype) for name, (shape, dtype) in self.columns.items()
        }
        for view, leaf in zip(self.views(columns), leaves, strict=True):
            view[...] = leaf
        return columns

    def unpack(self, columns: dict[str, np.ndarray]) -> Tree:
        """Returns the tree that `pack` packed, of contiguous NumPy arrays.

        Small leaves are copies; large ones are as given.
        """
        if "packed" in columns:
            columns = columns | {"packed": np.ascontiguousarray(columns["packed"])}
        views = self.views(columns)
        return self._treedef.unflatten(
            [x.copy() if name else x for x, name in zip(views, self._fields, strict=True)]
        )
