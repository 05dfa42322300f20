"""The protocol between a trainer and the loops, whatever the algorithm and wherever they run."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from ...agents.agent import TrainState
from ...envs.types import Tree
from ...replay.replay import ReplayBuffer


class Episodes(NamedTuple):
    """One episode, or several of which only these numbers are known.

    Attributes:
      mean: Mean return.
      length: Mean length in steps; None where it is not known.
      number: Number of episodes.
      highest: Highest return; None for that of a single episode, `mean`.
      lowest: Lowest return; None for that of a single episode, `mean`.
    """

    mean: float
    length: float | None
    number: int
    highest: float | None = None
    lowest: float | None = None


class Progress(NamedTuple):
    """The result of an `advance`.

    Attributes:
      num_updates: Number of its updates.
      metrics: Means of the agent's metrics over them.
      episodes: Episodes that ended.
      seconds: Time that it took before it was asked for, together with other runs.
    """

    num_updates: int
    metrics: dict[str, float]
    episodes: list[Episodes]
    seconds: float = 0.0


def merge(parts: Sequence[Progress]) -> Progress:
    """The progress of several `advance`, as if they were one; metrics are weighted by updates."""
    num_updates = sum(part.num_updates for part in parts)
    sums: dict[str, float] = {}
    for part in parts:
        for name, value in part.metrics.items():
            sums[name] = sums.get(name, 0.0) + value * part.num_updates
    return Progress(
        num_updates,
        {name: total / num_updates for name, total in sums.items()},
        [episode for part in parts for episode in part.episodes],
        sum(part.seconds for part in parts),
    )


class Runner(Protocol):
    """A loop, as a trainer drives it.

    Attributes:
      chunk: Number of environment steps between checks for progress and interruption.
      train_state: The agent's state, a copy; may be set.
    """

    chunk: int
    train_state: TrainState

    @property
    def num_steps(self) -> int:
        """The number of environment steps so far."""

    @property
    def replay(self) -> ReplayBuffer | None:
        """The buffer to save with the state; None if there is none, or the state has it."""

    def advance(self, num_steps: int) -> Progress:
        """Makes about this many environment steps, with their updates, after the warm-up."""

    def state(self) -> tuple[dict[str, Tree], dict[str, Any]]:
        """Arrays to save, with the agent's state under "agent", and counters for JSON."""

    def set_state(self, state: Mapping[str, Tree], counters: Mapping[str, Any], seed: int) -> None:
        """Goes on from what `state` gave.

        Args:
          state: The arrays.
          counters: The counters.
          seed: Seed of the next episodes of an environment whose state cannot be saved.
        """

    def close(self) -> None:
        """Frees the environment and the buffer."""
