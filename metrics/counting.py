"""Counts of steps, episodes and returns in rows on device, for metrics and for training loops."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ..envs.types import Array, StepType, Trajectory


class RowCounts(NamedTuple):
    """Counts of some rows, summed over environments: scalars.

    Attributes:
      steps: Number of environment steps, int32; boundary rows are none.
      episodes: Number of episodes that ended, int32.
      returns: Sum of the undiscounted returns of these episodes, float32.
    """

    steps: Array
    episodes: Array
    returns: Array


def accumulate(running: Array, amount: Array, row: Trajectory) -> tuple[Array, Array, Array]:
    """Adds a row's amounts to the sums of the episodes that they belong to.

    A boundary row (LAST -> FIRST) adds nothing. A row that starts with FIRST begins an episode and
    drops one that was left unfinished; a row that leads to LAST ends one.

    Args:
      running: Sums of the unfinished episodes, `[*batch_shape]`.
      amount: Amounts of the row, `[*batch_shape]`, such as its rewards.
      row: Row with the axes `[*batch_shape]`.

    Returns:
      The sums of the unfinished episodes after the row, the sums with the row also where it ended
      an episode, and True where it did.
    """
    live = row.step_type != StepType.LAST
    ended = live & (row.next_step_type == StepType.LAST)
    total = jnp.where(row.step_type == StepType.FIRST, 0, running) + jnp.where(live, amount, 0)
    return jnp.where(ended, 0, total), total, ended


def count_rows(episode_return: Array, rows: Trajectory) -> tuple[Array, RowCounts]:
    """Counts what rows hold.

    Args:
      episode_return: Returns so far of the unfinished episodes, float32 `[B]`.
      rows: The next rows of each environment, `[B, T, ...]`.

    Returns:
      The returns of the episodes that are unfinished after the rows, `[B]`, and the counts.
    """

    def add(running: Array, row: Trajectory) -> tuple[Array, tuple[Array, Array]]:
        running, total, ended = accumulate(running, row.reward, row)
        return running, (jnp.sum(jnp.where(ended, total, 0.0)), jnp.sum(ended, dtype=jnp.int32))

    steps = jnp.sum(~rows.is_last(), dtype=jnp.int32)
    if rows.reward.shape[1] == 1:
        running, (returns, episodes) = add(episode_return, jax.tree.map(lambda x: x[:, 0], rows))
        return running, RowCounts(steps, episodes, returns)
    by_time = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), rows)
    running, (returns, episodes) = jax.lax.scan(add, episode_return, by_time)
    return running, RowCounts(steps, episodes.sum(dtype=jnp.int32), returns.sum())
