"""Blocks of rows that actors make, and a writer of them."""

import dataclasses
from collections.abc import Callable, Iterator

import jax
import numpy as np

from ..envs.types import TimeStep, Trajectory, bootstrap_row
from ..replay.replay import Observer
from ..replay.streams import break_row


@dataclasses.dataclass(frozen=True)
class Block:
    """The rows of one slice of one actor. Iterating over it gives the T rows `[n, ...]` in order.

    Attributes:
      rows: Leaves `[T, n, ...]`, NumPy, not to be written to; None where the actor wrote them to a
        replay server.
      time_step: Time step that follows the last row, `[n, ...]`.
      actor: Number of the actor that made it.
      generation: Number of times that this actor had been recreated.
      number: Number of the slice, counted from 0 by each generation of an actor.
      version: Version of the parameters that acted.
      num_steps: Number of environment steps; boundary rows are not counted.
      returns: Returns of the episodes that ended, float64 `[episodes]`.
      lengths: Lengths of these episodes in steps, int64 `[episodes]`.
    """

    rows: Trajectory | None
    time_step: TimeStep
    actor: int
    generation: int
    number: int
    version: int
    num_steps: int
    returns: np.ndarray
    lengths: np.ndarray

    def __iter__(self) -> Iterator[Trajectory]:
        rows = self._rows()
        for t in range(len(rows.step_type)):
            yield jax.tree.map(lambda x, t=t: x[t], rows)

    def segments(self) -> Trajectory:
        """Returns the rows and a bootstrap row, `[n, T + 1, ...]`, for an on-policy `prepare`."""
        rows = self._rows()
        last = bootstrap_row(self.time_step, jax.tree.map(lambda x: x[-1], rows))
        join = lambda x, y: np.moveaxis(np.concatenate([x, y[None]]), 0, 1)
        return jax.tree.map(join, rows, last)

    def _rows(self) -> Trajectory:
        if self.rows is None:
            raise ValueError(
                "this block only counts rows: its actor wrote them to a replay server (make_replay)"
            )
        return self.rows


class BlockWriter:
    """An observer of blocks that writes the rows of each actor as streams of their own.

    Args:
      make_writer: Function that makes a writer for the n streams of one actor:
        `partial(buffer.writer, num_envs=n)`, or `queue.writer`.
    """

    def __init__(self, make_writer: Callable[[], Observer]):
        self._make_writer = make_writer
        self._writers: dict[int, Observer] = {}
        # By actor, the generation and the number of its last block.
        self._last: dict[int, tuple[int, int]] = {}

    def __call__(self, block: Block) -> None:
        """Writes a block's rows, in their order.

        Where the actor's last block is not the one before this one, its rows begin new windows.
        """
        writer = self._writers.get(block.actor)
        if writer is None:
            writer = self._writers[block.actor] = self._make_writer()
        elif self._last[block.actor] != (block.generation, block.number - 1):
            writer(break_row(next(iter(block))))
        self._last[block.actor] = (block.generation, block.number)
        for row in block:
            writer(row)
