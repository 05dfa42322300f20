"""Counts of the blocks that actors made: steps, episodes, and how old their parameters were."""

import collections

import numpy as np

from .block import Block


class BlockCounts:
    """Counts blocks, and decides which of them are fresh enough.

    Args:
      max_staleness: Greatest number of versions by which a block's parameters may be behind the
        published ones; None takes all blocks.

    Attributes:
      num_steps: Number of environment steps of all blocks.
      num_episodes: Number of episodes of all blocks.
      num_dropped: Number of blocks that were not fresh enough.
    """

    def __init__(self, max_staleness: int | None = None):
        self.num_steps = 0
        self.num_episodes = 0
        self.num_dropped = 0
        self._max_staleness = max_staleness
        self._returns: collections.deque[float] = collections.deque(maxlen=100)
        self._staleness: collections.deque[int] = collections.deque(maxlen=1000)

    def add(self, block: Block, version: int) -> bool:
        """Counts a block.

        Args:
          block: Block to count.
          version: Version that was published last.

        Returns:
          True if the block is fresh enough.
        """
        self.num_steps += block.num_steps
        self.num_episodes += len(block.returns)
        self._returns.extend(block.returns.tolist())
        staleness = max(0, version - block.version)
        self._staleness.append(staleness)
        fresh = self._max_staleness is None or staleness <= self._max_staleness
        self.num_dropped += not fresh
        return fresh

    def report(self) -> dict[str, float]:
        """Returns steps, episodes, mean return of the last 100, staleness, and blocks dropped."""
        staleness = np.array(self._staleness) if self._staleness else np.zeros(1)
        return {
            "steps": self.num_steps,
            "episodes": self.num_episodes,
            "episode_return": float(np.mean(self._returns)) if self._returns else 0.0,
            "staleness_mean": float(staleness.mean()),
            "staleness_max": int(staleness.max()),
            "blocks_dropped": self.num_dropped,
        }
