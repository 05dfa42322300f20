"""A float64 sum tree in NumPy: draws of an index in proportion to its value, in O(log n), for many indices at once."""

import numpy as np

_WIDTH = 64  # a node sums 64 children: 3 levels hold 262,144 leaves, and a level is one vectorised step


class SumTree:
    """Values `[capacity]` (float64, >= 0, zero at first) and the sums above them. Memory is 8.1 bytes a value, taken lazily.

    Sums are computed from their children, never by differences, so they do not drift.
    """

    def __init__(self, capacity: int):
        sizes = [capacity]
        while sizes[-1] > _WIDTH:
            sizes.append(-(-sizes[-1] // _WIDTH))
        self._levels = [np.zeros((-(-size // _WIDTH), _WIDTH)) for size in sizes]  # [nodes of the level above, children]
        self._values = self._levels[0].reshape(-1)
        self._stale: list[np.ndarray | int] = []

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        return self._values[indices]

    def set(self, indices: np.ndarray | int, values: np.ndarray | float) -> None:
        """Sets `values` `[n]` at `indices` `[n]` (or one at one); of a repeated index the last value holds."""
        self._values[indices] = values
        self._stale.append(indices)  # sums wait until they are needed, so that adding a row costs one write
        if len(self._stale) > 4096:
            self._update_sums()

    @property
    def total(self) -> float:
        """The sum of all values."""
        self._update_sums()
        return float(self._levels[-1].sum())

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Draws `n` indices (int64 `[n]`) with replacement, each in proportion to its value.

        Raises:
          ValueError: every value is zero.
        """
        total = self.total
        if not total > 0:
            raise ValueError("every value in the tree is zero, so nothing can be drawn")
        indices = self._find(rng.random(n) * total)
        zero = self._values[indices] <= 0
        while zero.any():  # rounding in the sums can end beside the leaf, about once in 1e15 draws
            indices[zero] = self._find(rng.random(int(zero.sum())) * total)
            zero = self._values[indices] <= 0
        return indices

    def _find(self, mass: np.ndarray) -> np.ndarray:
        """The index in whose span of the running sum each `mass` `[n]` falls."""
        node = np.zeros(len(mass), np.int64)
        rows = np.arange(len(mass))
        for level in reversed(self._levels):
            sums = np.cumsum(level[node], axis=1)
            child = np.minimum((sums <= mass[:, None]).sum(axis=1), _WIDTH - 1)
            mass = mass - np.where(child > 0, sums[rows, child - 1], 0.0)
            node = np.minimum(node * _WIDTH + child, level.size - 1)
        return node

    def _update_sums(self) -> None:
        if not self._stale:
            return
        nodes = np.concatenate([np.atleast_1d(i) for i in self._stale])
        self._stale = []
        for level, above in zip(self._levels[:-1], self._levels[1:], strict=True):
            nodes = np.unique(nodes // _WIDTH)
            above.reshape(-1)[nodes] = level[nodes].sum(axis=1)
