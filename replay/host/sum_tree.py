"""A float64 sum tree in NumPy, which draws many indices at once in proportion to their values."""

import numpy as np

_WIDTH = 16  # a node sums 16 children, and a level is one vectorised step
_TOP = 4096  # the most nodes of the highest level, whose running sum is searched by bisection


class SumTree:
    """Values `[capacity]` (float64, >= 0, zero at first) and the sums above them.

    A draw takes O(log capacity). Memory is 8.6 bytes a value, taken lazily. Sums are computed from
    their children, never by differences, so they do not drift.

    Args:
      capacity: Number of values.
    """

    def __init__(self, capacity: int):
        sizes = [capacity]
        while sizes[-1] > _TOP:
            sizes.append(-(-sizes[-1] // _WIDTH))
        # Each level is [nodes of the level above, children].
        self._levels = [np.zeros((-(-size // _WIDTH), _WIDTH)) for size in sizes]
        self._values = self._levels[0].reshape(-1)
        self._running = np.zeros(self._levels[-1].size)  # sums of the highest level
        self._stale: list[np.ndarray | int] = []

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        return self._values[indices]

    def set(self, indices: np.ndarray | int, values: np.ndarray | float) -> None:
        """Sets `values` `[n]` at `indices` `[n]`, or one at one; of a repeated index, the last."""
        self._values[indices] = values
        # Sums wait until they are needed, so that adding a row costs one write.
        self._stale.append(indices)
        if len(self._stale) > 4096:
            self._update_sums()

    @property
    def total(self) -> float:
        """The sum of all values."""
        self._update_sums()
        return float(self._running[-1])

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Draws `n` indices (int64 `[n]`) with replacement, each in proportion to its value.

        Raises:
          ValueError: Every value is zero.
        """
        total = self.total
        if not total > 0:
            raise ValueError("every value in the tree is zero, so nothing can be drawn")
        indices = self._find(rng.random(n) * total)
        # Rounding can end at a neighbour of the leaf, about once in 1e15 draws.
        while (zero := self._values[indices] <= 0).any():
            indices[zero] = self._find(rng.random(int(zero.sum())) * total)
        return indices

    def _find(self, mass: np.ndarray) -> np.ndarray:
        """Returns the index in whose span of the running sum each `mass` `[n]` falls."""
        node = np.minimum(self._running.searchsorted(mass, side="right"), len(self._running) - 1)
        mass = mass - (self._running[node] - self._levels[-1].reshape(-1)[node])
        rows = np.arange(len(mass))
        for level in reversed(self._levels[:-1]):
            children = level.take(node, axis=0, mode="clip")
            sums = np.cumsum(children, axis=1)
            child = np.minimum((sums <= mass[:, None]).sum(axis=1), _WIDTH - 1)
            mass = mass - (sums[rows, child] - children[rows, child])
            node = node * _WIDTH + child
        return np.minimum(node, len(self._values) - 1)

    def _update_sums(self) -> None:
        if not self._stale:
            return
        nodes = np.concatenate([np.atleast_1d(i) for i in self._stale])
        self._stale = []
        for level, above in zip(self._levels[:-1], self._levels[1:], strict=True):
            nodes = np.unique(nodes // _WIDTH)
            above.reshape(-1)[nodes] = level.take(nodes, axis=0).sum(axis=1)
        np.cumsum(self._levels[-1].reshape(-1), out=self._running)
