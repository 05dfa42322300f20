"""A replay buffer on device: pure functions of a state, for use inside `jit`, `scan` and `vmap`."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import lax

from ...envs.checks import check_row_spec
from ...envs.specs import validate
from ...envs.types import Array, Sample, SampleInfo, Trajectory, Tree
from ..checks import check_count
from ..packing import LARGE_LEAF_BYTES

_WIDTH = 16  # children of a node of the sum tree
_TINY = np.finfo(np.float32).tiny


@struct.dataclass
class DeviceReplayState:
    """Rows packed into few matrices `[capacity, words]`, and counters.

    The counters are int32 scalars, which count rows per environment. `tree` holds priority^alpha
    and the sums above, `[nodes, 16]` each; it is empty in a uniform buffer. `max_priority` is a
    float32 scalar.
    """

    columns: dict[str, Array]
    head: Array  # where the next row is written
    size: Array  # rows kept
    tree: tuple[Array, ...]
    max_priority: Array  # the highest priority that was set so far


@dataclasses.dataclass(frozen=True, eq=False)
class DeviceReplay:
    """Keeps the newest rows of `num_envs` streams in a ring.

    Each window of `sequence_length` consecutive rows is an item. The rows of a stream must continue
    from one `add` to the next; windows may span episodes, as on the host, and never straddle the
    point where the ring is being written. No call takes time that grows with the capacity
    (prioritised: its logarithm). Pass the state through `lax.scan`, or donate it, so that it is
    updated in place.

    Args:
      spec: Specs of one row, `agent.collect_data_spec`.
      capacity: Number of rows that are kept, of all environments together; `capacity // num_envs`
        of each.
      sequence_length: Number of rows T in a window.
      num_envs: Number of environments B whose rows `add` takes.
      priority_exponent: None samples uniformly; a number alpha (it may be traced) samples in
        proportion to priority^alpha (Schaul et al. 2016, eq. 1). A new window gets the highest
        priority that was set so far, at least 1.

    Raises:
      ValueError: No window of each environment fits.
      SpecError: The spec describes no rows that an agent could learn from.
    """

    spec: Tree
    capacity: int
    _: dataclasses.KW_ONLY
    sequence_length: int = 2
    num_envs: int = 1
    priority_exponent: float | Array | None = None

    def __post_init__(self):
        check_row_spec(self.spec)
        for name in ("capacity", "sequence_length", "num_envs"):
            check_count(name, getattr(self, name))
        if self._length < self.sequence_length:
            raise ValueError(
                f"capacity={self.capacity} rows cannot hold sequence_length={self.sequence_length} "
                f"rows of each of {self.num_envs} environments"
            )

    @property
    def _length(self) -> int:
        """The number of rows that are kept of each environment."""
        return self.capacity // self.num_envs

    # -- the functions

    def init(self) -> DeviceReplayState:
        """Returns an empty buffer."""
        rows = self._length * self.num_envs
        columns = {
            name: jnp.zeros((rows, words), dtype)
            for name, (words, dtype, _) in self._layout().items()
        }
        tree: list[Array] = []
        if self.priority_exponent is not None:
            nodes = rows
            while not tree or nodes > 1:
                nodes = -(-nodes // _WIDTH)
                tree.append(jnp.zeros((nodes, _WIDTH), jnp.float32))
        head = jnp.zeros((), jnp.int32)
        size = jnp.zeros((), jnp.int32)  # another array, since one cannot be donated twice
        return DeviceReplayState(columns, head, size, tuple(tree), jnp.ones((), jnp.float32))

    def add(self, state: DeviceReplayState, rows: Trajectory) -> DeviceReplayState:
        """Adds T consecutive rows of each environment, leaves `[num_envs, T, ...]`.

        Raises:
          SpecError: The rows do not meet the spec.
          ValueError: The number of environments differs, or T is more than capacity / num_envs.
        """
        validate(
            jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), rows),
            self.spec,
            batch_ndim=2,
        )
        num_envs, num_rows = rows.step_type.shape
        if num_envs != self.num_envs or num_rows > self._length:
            most = f"[num_envs={self.num_envs}, at most {self._length}]"
            raise ValueError(f"rows must have leading axes {most}, got {[num_envs, num_rows]}")
        columns = {}
        for name, packed in self._pack(rows).items():
            if num_rows == 1:  # one block that never wraps around
                where = (state.head * num_envs, jnp.zeros((), jnp.int32))
                columns[name] = lax.dynamic_update_slice(state.columns[name], packed, where)
            else:
                slots = self._slots(state.head + jnp.arange(num_rows))
                columns[name] = (
                    state.columns[name]
                    .at[slots]
                    .set(packed, mode="promise_in_bounds", unique_indices=True)
                )
        size = jnp.minimum(state.size + num_rows, self._length)
        tree = state.tree
        if tree:
            tree = self._add_to_tree(state, num_rows, size)
        head = (state.head + num_rows) % self._length
        return dataclasses.replace(state, columns=columns, head=head, size=size, tree=tree)

    def num_items(self, state: DeviceReplayState) -> Array:
        """Returns the number of windows that can be sampled (int32 scalar)."""
        return jnp.maximum(state.size - self.sequence_length + 1, 0) * self.num_envs

    def num_rows(self, state: DeviceReplayState) -> Array:
        """Returns the number of rows, of all environments together (int32 scalar)."""
        return state.size * self.num_envs

    def can_sample(self, state: DeviceReplayState, n: int = 1) -> Array:
        """Returns True once there are at least n windows (boolean scalar)."""
        return self.num_items(state) >= n

    def sample(self, state: DeviceReplayState, key: Array, batch_size: int) -> Sample:
        """Draws windows `[batch_size, sequence_length, ...]` with replacement; zeros without any.

        `info.key` is the slot of the window's first row (int32): set its priority before the next
        `add` overwrites it. `info.times_sampled` is not kept: ().
        """
        items = self.num_items(state)
        if state.tree:
            first, mass, total = self._draw_from_tree(state, key, batch_size)
            probability = mass / jnp.maximum(total, _TINY)  # not 0 / 0 without any window
            priority = mass ** (1.0 / jnp.asarray(self.priority_exponent, jnp.float32))
        else:
            index = jax.random.randint(key, (batch_size,), 0, jnp.maximum(items, 1), jnp.int32)
            oldest = state.head - state.size
            time = (oldest + index // self.num_envs) % self._length
            first = time * self.num_envs + index % self.num_envs
            probability = jnp.broadcast_to(jnp.float32(1.0) / items, (batch_size,))
            priority = jnp.ones((batch_size,), jnp.float32)
        steps = self.num_envs * jnp.arange(self.sequence_length, dtype=jnp.int32)
        window = (first[:, None] + steps[None]) % (self._length * self.num_envs)
        columns = {n: c.at[window].get(mode="promise_in_bounds") for n, c in state.columns.items()}
        size = jnp.broadcast_to(items, (batch_size,))
        # The barrier keeps the gather from being fused into its users, where the CPU compiler,
        # counting the whole buffer as its input, would split each of them over threads: a third of
        # a DQN iteration's time.
        experience = lax.optimization_barrier(self._unpack(columns))
        return Sample(experience, SampleInfo(first, probability, size, priority, ()))

    def update_priorities(
        self, state: DeviceReplayState, keys: Array, priorities: Array
    ) -> DeviceReplayState:
        """Sets the priorities `[n]` (finite, >= 0) of the windows `info.key` `[n]`.

        It takes O(n log capacity). Of a repeated key one of the priorities holds. Windows that are
        gone are ignored. A NaN or negative priority cannot raise an error on device: it is ignored
        too, and an infinite one counts as the largest number.

        Raises:
          ValueError: The buffer is uniform.
        """
        if not state.tree:
            raise ValueError(
                "this buffer samples uniformly; "
                "build it with priority_exponent=0.6, say, to set priorities"
            )
        priorities = jnp.minimum(jnp.asarray(priorities, jnp.float32), 1e18)
        oldest = state.head - state.size
        time = (keys // self.num_envs - oldest) % self._length  # counted from the oldest row
        valid = (priorities >= 0) & (time <= state.size - self.sequence_length)
        mass = jnp.where(
            priorities > 0, priorities ** jnp.asarray(self.priority_exponent, jnp.float32), 0.0
        )
        old = state.tree[0].reshape(-1)[keys]
        tree = _set(state.tree, jnp.asarray(keys, jnp.int32), jnp.where(valid, mass, old))
        highest = jnp.max(jnp.where(valid, priorities, 0.0), initial=0.0)
        return dataclasses.replace(
            state, tree=tree, max_priority=jnp.maximum(state.max_priority, highest)
        )

    # -- the sum tree

    def _add_to_tree(
        self, state: DeviceReplayState, num_rows: int, size: Array
    ) -> tuple[Array, ...]:
        """Lets windows begin at the first `num_rows` of the last `num_rows + T - 1` rows.

        None begin at the T - 1 rows that follow.
        """
        count = min(num_rows + self.sequence_length - 1, self._length)
        back = jnp.arange(count, 0, -1, dtype=jnp.int32)  # rows before the new head
        begins = (back >= self.sequence_length) & (back <= size)
        mass = jnp.where(
            begins, state.max_priority ** jnp.asarray(self.priority_exponent, jnp.float32), 0.0
        )
        slots = self._slots(state.head + num_rows - back)
        return _set(state.tree, slots, jnp.repeat(mass, self.num_envs))

    def _draw_from_tree(
        self, state: DeviceReplayState, key: Array, num: int
    ) -> tuple[Array, Array, Array]:
        """Returns drawn slots `[num]`, their masses `[num]` and the total mass."""
        node = jnp.zeros((num,), jnp.int32)
        mass = jnp.zeros((num,), jnp.float32)
        # One number for each level: 24 bits would not do for all levels at once.
        uniform = jax.random.uniform(key, (len(state.tree), num), jnp.float32)
        for level, u in zip(reversed(state.tree), uniform, strict=True):
            children = level.at[node].get(mode="promise_in_bounds")
            sums = jnp.cumsum(children, axis=1)
            # Rounding must not pass the last child.
            aim = jnp.minimum(u * sums[:, -1], jnp.nextafter(sums[:, -1], 0.0))
            child = jnp.argmax(sums > aim[:, None], axis=1).astype(jnp.int32)
            mass = jnp.take_along_axis(children, child[:, None], axis=1)[:, 0]
            node = node * _WIDTH + child
        return node, mass, state.tree[-1].sum()

    def _slots(self, times: Array) -> Array:
        """The slots `[len(times) * num_envs]` of rows at `times`, perhaps outside the ring."""
        slots = (times % self._length)[:, None] * self.num_envs + jnp.arange(self.num_envs)[None]
        return slots.reshape(-1).astype(jnp.int32)

    # -- packing: a scan carries few arrays, and a row is one contiguous write

    def _layout(self) -> dict[str, tuple[int, Any, list[int]]]:
        """Returns, for each column, its words in a row, its dtype, and the indices of its leaves.

        Small leaves of one width share a column.
        """
        layout: dict[str, tuple[int, Any, list[int]]] = {}
        for i, leaf in enumerate(jax.tree.leaves(self.spec)):
            words = int(np.prod(leaf.shape, dtype=np.int64))
            width = leaf.dtype.itemsize
            name = f"leaf{i}" if words * width >= LARGE_LEAF_BYTES else f"packed{8 * width}"
            before, _, members = layout.get(name, (0, None, []))
            layout[name] = (before + words, np.dtype(f"uint{8 * width}"), [*members, i])
        return layout

    def _pack(self, rows: Trajectory) -> dict[str, Array]:
        """Packs rows `[B, T, ...]` into columns `[T * B, words]`, in the ring's order."""
        leaves = [jnp.swapaxes(x, 0, 1) for x in jax.tree.leaves(rows)]
        columns = {}
        for name, (_, dtype, members) in self._layout().items():
            words = [
                _to_words(leaves[i].reshape(leaves[i].shape[0] * leaves[i].shape[1], -1), dtype)
                for i in members
            ]
            columns[name] = words[0] if len(words) == 1 else jnp.concatenate(words, axis=1)
        return columns

    def _unpack(self, columns: dict[str, Array]) -> Tree:
        """Unpacks columns `[..., words]` into the spec's tree of leaves `[..., *shape]`."""
        specs, treedef = jax.tree.flatten(self.spec)
        leaves: list[Any] = [None] * len(specs)
        for name, (_, _, members) in self._layout().items():
            start = 0
            for i in members:
                stop = start + int(np.prod(specs[i].shape, dtype=np.int64))
                words = columns[name][..., start:stop].reshape(
                    columns[name].shape[:-1] + specs[i].shape
                )
                leaves[i] = (
                    words != 0
                    if specs[i].dtype == np.bool_
                    else lax.bitcast_convert_type(words, specs[i].dtype)
                )
                start = stop
        return jax.tree.unflatten(treedef, leaves)


def _to_words(leaf: Array, dtype: np.dtype) -> Array:
    return leaf.astype(dtype) if leaf.dtype == np.bool_ else lax.bitcast_convert_type(leaf, dtype)


def _set(tree: tuple[Array, ...], indices: Array, values: Array) -> tuple[Array, ...]:
    """Sets leaves, and adds up the sums above them again, so that these never drift."""
    levels = []
    for level in tree:
        node = indices // _WIDTH
        level = level.at[node, indices % _WIDTH].set(values, mode="promise_in_bounds")
        levels.append(level)
        indices = node
        values = level.at[node].get(mode="promise_in_bounds").sum(axis=1)
    return tuple(levels)
