"""Rings of CartPole's rows, directly: in NumPy, in JAX, and in JAX with priorities."""

import jax
import jax.numpy as jnp
import numpy as np

from .common import Run, scanned

BATCH = 64
SIDE = 256  # the priorities are a matrix of this many rows and columns
CAPACITY = SIDE * SIDE


def host() -> Run:
    """Adds a row and draws windows of two rows from a ring of NumPy's columns."""
    ring = {
        "step_type": np.zeros(CAPACITY, np.int32),
        "observation": np.zeros((CAPACITY, 4), np.float32),
        "action": np.zeros(CAPACITY, np.int32),
        "next_step_type": np.zeros(CAPACITY, np.int32),
        "reward": np.zeros(CAPACITY, np.float32),
        "discount": np.zeros(CAPACITY, np.float32),
    }
    row = {name: np.ones(column.shape[1:], column.dtype) for name, column in ring.items()}
    rng = np.random.default_rng(0)
    rows = 0

    def run(n: int) -> int:
        nonlocal rows
        for _ in range(n):
            for name, column in ring.items():
                column[rows % CAPACITY] = row[name]
            rows += 1
            first = rng.integers(0, max(min(rows, CAPACITY) - 1, 1), BATCH)
            window = first[:, None] + np.arange(2)
            batch = {name: column[window] for name, column in ring.items()}
        assert batch["observation"].shape == (BATCH, 2, 4)
        return n

    return run


def device() -> Run:
    """Adds a row and draws windows of two rows from one matrix, in a scan."""

    def step(carry, _):
        ring, rows, key = carry
        key, draw_key = jax.random.split(key)
        row = jnp.full(9, rows, jnp.float32)
        ring = jax.lax.dynamic_update_index_in_dim(ring, row, rows % CAPACITY, 0)
        rows += 1
        first = jax.random.randint(draw_key, (BATCH,), 0, jnp.clip(rows - 1, 1, CAPACITY - 1))
        batch = ring[first[:, None] + jnp.arange(2)]
        return (ring, rows, key), batch.sum()

    return scanned(step, (jnp.zeros((CAPACITY, 9)), jnp.int32(0), jax.random.key(0)))


def prioritised() -> Run:
    """Does the same as `device`, but draws by priorities and sets those of the windows drawn.

    The priorities' sums are kept for each row of a matrix: a draw looks for the row first, and then
    in it.
    """

    def step(carry, _):
        ring, masses, sums, highest, rows, key = carry
        key, draw_key = jax.random.split(key)
        slot = rows % CAPACITY
        ring = jax.lax.dynamic_update_index_in_dim(ring, jnp.full(9, rows, jnp.float32), slot, 0)
        masses = masses.at[slot // SIDE, slot % SIDE].set(highest**0.6)
        sums = sums.at[slot // SIDE].set(masses[slot // SIDE].sum())
        rows += 1
        ends = jnp.cumsum(sums)
        target = jax.random.uniform(draw_key, (BATCH,)) * ends[-1]
        block = jnp.minimum(jnp.searchsorted(ends, target, side="right"), SIDE - 1)
        inside = target - jnp.where(block > 0, ends[block - 1], 0.0)
        columns = (jnp.cumsum(masses[block], axis=1) <= inside[:, None]).sum(1)
        columns = jnp.minimum(columns, SIDE - 1)
        first = block * SIDE + columns
        batch = ring[(first[:, None] + jnp.arange(2)) % CAPACITY]
        probability = masses[block, columns] / ends[-1]
        priority = 1.0 + jnp.abs(batch[:, 0, 0] % 7)
        masses = masses.at[block, columns].set(priority**0.6)
        sums = sums.at[block].set(masses[block].sum(1))
        highest = jnp.maximum(highest, priority.max())
        return (ring, masses, sums, highest, rows, key), batch.sum() + probability.sum()

    state = (
        jnp.zeros((CAPACITY, 9)),
        jnp.zeros((SIDE, SIDE)),
        jnp.zeros(SIDE),
        jnp.ones(()),
        jnp.int32(0),
        jax.random.key(0),
    )
    return scanned(step, state)
