"""Learning from the episodes of clients: from replay, or on-policy from their recent segments.

Clients play training episodes, whose rows come here, and others, which are not learned from.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from ..agents.agent import Agent, TrainState
from ..agents.on_policy import OnPolicyAgent
from ..envs.types import Array, Trajectory
from ..learners.on_policy_scan import learn
from ..learners.prioritised import replay_update
from ..replay.replay import ReplayBuffer
from .finite import SKIPPED, finite_update, keep_finite


class Learning(Protocol):
    """Learns from rows; one thread calls it, and any thread may call `backlog`, which only reads.

    Attributes:
      state: State of the agent.
      max_backlog: Number of updates that may be owed while training episodes go on.
    """

    state: TrainState
    max_backlog: int

    @property
    def num_updates(self) -> int:
        """The number of updates so far."""

    @property
    def num_skipped(self) -> int:
        """The number of updates that were skipped, since their result was not finite."""

    @property
    def agent(self) -> Agent:
        """The agent that learns."""

    def add(self, stream: int, rows: list[Trajectory], version: int) -> None:
        """Takes consecutive rows of a stream.

        Args:
          stream: Index of the stream; a stream has the rows of one client's episodes.
          rows: Rows, without batch axes.
          version: Version of the parameters that chose the actions.
        """

    def backlog(self, queued: int = 0) -> int:
        """Returns the number of updates owed for the rows added and for `queued` further steps."""

    def advance(self) -> bool:
        """Does one update if one is owed, and returns True if it did."""


class ReplayLearning:
    """Trains an off-policy agent from replay, at a fixed ratio of updates to clients' steps.

    Args:
      agent: Off-policy agent.
      state: State to continue from, which is copied.
      buffer: Replay buffer of windows of `agent.train_sequence_length` rows.
      batch_size: Number of windows in a batch.
      updates_per_step: Number of optimizer updates for each step after the warm-up.
      warmup_steps: Number of steps before any update is owed.
      importance_exponent: Exponent beta of the importance weights, if the buffer is prioritised.
      max_backlog: Number of updates that may be owed; training episodes wait while there are more,
        so that the ratio holds.

    Attributes:
      num_steps: Number of steps added.

    Raises:
      TypeError: if the agent learns on policy.
      ValueError: if a number is too small.
    """

    def __init__(
        self,
        agent: Agent,
        state: TrainState,
        buffer: ReplayBuffer,
        *,
        batch_size: int = 64,
        updates_per_step: float = 0.25,
        warmup_steps: int = 1_000,
        importance_exponent: float = 0.4,
        max_backlog: int = 16,
    ):
        if isinstance(agent, OnPolicyAgent):
            raise TypeError(
                f"{type(agent).__name__} learns from its own recent rows; use OnPolicyLearning"
            )
        if batch_size < 1 or not updates_per_step > 0 or warmup_steps < 1 or max_backlog < 0:
            raise ValueError(
                "ReplayLearning: expected batch_size and warmup_steps >= 1, updates_per_step > 0 "
                "and max_backlog >= 0, got "
                f"{batch_size=}, {warmup_steps=}, {updates_per_step=}, {max_backlog=}"
            )
        self.agent = agent
        self.buffer = buffer
        self.state = jax.tree.map(jnp.copy, state)
        self.num_steps = 0
        self._train = jax.jit(partial(finite_update, agent), donate_argnums=0)
        self._attempts = 0  # updates, those included that were skipped
        self._skipped: Array = np.int32(0)  # on device, so that no update waits for its result
        self.max_backlog = max_backlog
        self._batch_size = batch_size
        self._ratio = updates_per_step
        self._warmup_steps = warmup_steps
        self._beta = importance_exponent
        self._prioritised = buffer.priority_exponent is not None
        self._writers: dict[int, Callable[[Trajectory], None]] = {}
        self._first_step: int | None = None  # `num_steps` when the warm-up ended
        self._dataset: Any = None

    @property
    def num_updates(self) -> int:
        """The number of updates so far."""
        return self._attempts - self.num_skipped

    @property
    def num_skipped(self) -> int:
        """The number of updates that were skipped, since their result was not finite."""
        return int(self._skipped)

    def add(self, stream: int, rows: list[Trajectory], version: int) -> None:
        """Adds consecutive rows of a stream to replay; their version does not matter."""
        if stream not in self._writers:
            self._writers[stream] = self.buffer.writer()
        for row in rows:
            self._writers[stream](row)
            self.num_steps += not row.is_last()  # a boundary row is no step
            if (
                self._first_step is None
                and self.num_steps >= self._warmup_steps
                and self.buffer.can_sample()
            ):
                self._first_step = self.num_steps

    def backlog(self, queued: int = 0) -> int:
        """Returns the number of updates owed for the rows added and for `queued` further steps."""
        if self._first_step is None:
            return 0
        return int((self.num_steps + queued - self._first_step) * self._ratio) - self._attempts

    def advance(self) -> bool:
        """Does or skips one update if one is owed, and returns True if one was."""
        if self.backlog() < 1:
            return False
        if self._dataset is None:
            self._dataset = self.buffer.as_dataset(self._batch_size)
        experience, info = next(self._dataset)
        draws = (info.probability, info.table_size) if self._prioritised else None
        self.state, losses, priorities = replay_update(
            self._train, self.state, experience, draws, self._beta
        )
        if priorities is not None:
            found = np.asarray(priorities)
            finite = np.isfinite(found)
            self.buffer.update_priorities(info.key[finite], found[finite])
        self._skipped = self._skipped + losses.metrics[SKIPPED]
        self._attempts += 1
        return True


class OnPolicyLearning:
    """Trains an on-policy agent from segments of episodes that its present parameters made.

    A segment is `num_rows` consecutive rows of a stream, and the row after them, whose observation
    estimates bootstrap from. A batch has `num_segments` of them, from any streams. Rows that older
    parameters made are left out, and training episodes wait while a batch is learned from.

    Args:
      agent: On-policy agent.
      state: State to continue from, which is copied.
      num_segments: Number B of segments in a batch.
      num_rows: Number T of rows in a segment, boundary rows included.
      num_epochs: Number of passes over a batch.
      num_minibatches: Number of equal parts of a batch, each for one update.
      key: Typed random key of the permutations.

    Attributes:
      num_updates: Number of updates so far, of all epochs and parts of a batch together.
      num_skipped: Number of those that were skipped, since their result was not finite.
      num_dropped: Number of rows that were left out.

    Raises:
      TypeError: if the agent does not learn on policy.
      ValueError: if a number is less than 1.
    """

    max_backlog = 0  # one batch that waits stops all training episodes

    def __init__(
        self,
        agent: OnPolicyAgent,
        state: TrainState,
        *,
        num_segments: int = 8,
        num_rows: int = 128,
        num_epochs: int = 4,
        num_minibatches: int = 4,
        key: Array,
    ):
        if not isinstance(agent, OnPolicyAgent):
            raise TypeError(f"{type(agent).__name__} learns from replay; use ReplayLearning")
        if min(num_segments, num_rows, num_epochs, num_minibatches) < 1:
            raise ValueError(
                f"expected at least 1: {num_segments=}, {num_rows=}, {num_epochs=}, "
                f"{num_minibatches=}"
            )
        self.agent = agent
        self.state = jax.tree.map(jax.numpy.copy, state)
        self.num_updates = 0
        self.num_skipped = 0
        self.num_dropped = 0
        self._num_segments = num_segments
        self._num_rows = num_rows
        self._key = key
        self._open: dict[int, list[Trajectory]] = {}
        self._segments: list[Trajectory] = []

        def learn_finite(state: TrainState, rows: Trajectory, key: Array) -> Any:
            after, _ = learn(agent, state, rows, key, num_epochs, num_minibatches)
            return keep_finite(state, after)

        self._learn = jax.jit(learn_finite, donate_argnums=0)

    def add(self, stream: int, rows: list[Trajectory], version: int) -> None:
        """Adds consecutive rows of a stream, and leaves out those of another version."""
        for row in rows:
            held = self._open.setdefault(stream, [])
            if version != self.num_updates or (held and held[-1].next_step_type != row.step_type):
                self.num_dropped += len(held)
                held.clear()
            if version != self.num_updates:
                self.num_dropped += 1
                continue
            held.append(row)
            if len(held) > self._num_rows:
                # The last row is bootstrapped from, and begins the next segment.
                self._segments.append(jax.tree.map(lambda *leaves: np.stack(leaves), *held))
                self._open[stream] = [row]

    def backlog(self, queued: int = 0) -> int:
        """Returns 1 if there are segments enough for an update, otherwise 0."""
        return int(len(self._segments) >= self._num_segments)

    def advance(self) -> bool:
        """Does or skips one update if one is owed, and returns True if one was."""
        if not self.backlog():
            return False
        rows = jax.tree.map(lambda *leaves: np.stack(leaves), *self._segments[: self._num_segments])
        key = jax.random.fold_in(self._key, self.num_updates + self.num_skipped)
        self.state, skipped = self._learn(self.state, rows, key)
        if skipped:
            self.num_skipped += 1
        else:
            self.num_updates += 1
        # Whatever else has come was made by parameters that are older now.
        self._segments = []
        self._open = {}
        return True
