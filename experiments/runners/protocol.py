"""What a trainer asks of a loop, whatever the algorithm and wherever it runs."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from ...agents.agent import TrainState
from ...envs.types import Tree
from ...replay.replay import Replay

Episodes = tuple[
    float, float | None, int
]  # mean return, mean length where it is known, number of episodes


class Progress(NamedTuple):
    """What an `advance` did: its updates, the means of the agent's metrics over them, and the
    episodes that ended.

    `seconds` are those that it took before it was asked for, together with other runs.
    """

    num_updates: int
    metrics: dict[str, float]
    episodes: list[Episodes]
    seconds: float = 0.0


class Runner(Protocol):
    """What a trainer asks of a loop."""

    chunk: int  # environment steps after which to look up: for progress, and for an interruption
    train_state: TrainState  # the agent's state, a copy; may be set

    @property
    def num_steps(self) -> int:
        """Environment steps so far."""

    @property
    def replay(self) -> Replay | None:
        """The buffer to save beside the state; None if there is none, or it is part of the
        state.
        """

    def advance(self, num_steps: int) -> Progress:
        """Makes about so many environment steps, with their updates; the first ones are the
        warm-up.
        """

    def state(self) -> tuple[Tree, dict[str, Any]]:
        """What to save: arrays, and counters for JSON."""

    def set_state(self, state: Tree, counters: Mapping[str, Any], seed: int) -> None:
        """Goes on from what `state` gave; `seed` starts the episodes of an environment whose state
        cannot be saved.
        """

    def close(self) -> None:
        """Frees the environment and the buffer."""
