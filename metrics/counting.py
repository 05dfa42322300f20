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
      lengths: Sum of their lengths in steps, int32.
      highest: The highest of their returns, float32; -inf if none ended.
      lowest: The lowest of their returns, float32; inf if none ended.
    """

    steps: Array
    episodes: Array
    returns: Array
    lengths: Array
    highest: Array
    lowest: Array

    def metrics(self) -> dict[str, Array]:
        """What a loop on device reports of these episodes, as `learners.Scan` adds it up."""
        return {
            "episodes": self.episodes,
            "episode_return": self.returns,
            "episode_length": self.lengths,
            "episode_return_max": self.highest,
            "episode_return_min": self.lowest,
        }


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


def count_rows(
    episode_return: Array, episode_length: Array, rows: Trajectory
) -> tuple[Array, Array, RowCounts]:
    """Counts what rows hold.

    Args:
      episode_return: Returns so far of the unfinished episodes, float32 `[B]`.
      episode_length: Their lengths so far in steps, int32 `[B]`.
      rows: The next rows of each environment, `[B, T, ...]`.

    Returns:
      The returns and the lengths of the episodes that are unfinished after the rows, `[B]`, and the
      counts.
    """

    def add(running: tuple[Array, Array], row: Trajectory) -> tuple[tuple, RowCounts]:
        one = jnp.ones_like(running[1])
        open_return, returns, ended = accumulate(running[0], row.reward, row)
        open_length, lengths, _ = accumulate(running[1], one, row)
        counts = RowCounts(
            steps=jnp.sum(~row.is_last(), dtype=jnp.int32),
            episodes=jnp.sum(ended, dtype=jnp.int32),
            returns=jnp.sum(jnp.where(ended, returns, 0.0)),
            lengths=jnp.sum(jnp.where(ended, lengths, 0), dtype=jnp.int32),
            highest=jnp.max(jnp.where(ended, returns, -jnp.inf)),
            lowest=jnp.min(jnp.where(ended, returns, jnp.inf)),
        )
        return (open_return, open_length), counts

    running = (episode_return, episode_length)
    if rows.reward.shape[1] == 1:
        running, counts = add(running, jax.tree.map(lambda x: x[:, 0], rows))
        return *running, counts
    by_time = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), rows)
    running, counts = jax.lax.scan(add, running, by_time)
    sums = jax.tree.map(lambda x: x.sum(dtype=x.dtype), counts)
    return *running, sums._replace(highest=counts.highest.max(), lowest=counts.lowest.min())
