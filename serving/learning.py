"""Learning from the episodes of clients: from replay, or from recent segments on policy."""

from collections.abc import Callable
from typing import Any, Protocol

import jax
import numpy as np

from ..agents.agent import Agent, TrainState
from ..agents.on_policy import OnPolicyAgent
from ..envs.types import Array, Trajectory
from ..learners.learner import Learner
from ..learners.on_policy_scan import learn
from ..learners.prioritised import replay_update
from ..replay.replay import ReplayBuffer


class Learning(Protocol):
    """Rows in, updates out; called from one thread, but for `backlog`."""

    state: TrainState
    num_updates: int
    max_backlog: int  # the updates that may be owed while training episodes go on

    @property
    def agent(self) -> Agent:
        """What learns."""

    def add(self, stream: int, rows: list[Trajectory], version: int) -> None:
        """Takes consecutive rows of a stream; `version` is that of the parameters which chose their
        actions.
        """

    def backlog(self, queued: int = 0) -> int:
        """The updates owed for the rows added, and for so many steps that are yet to be added."""

    def advance(self) -> bool:
        """Does one update if one is owed; says whether it did."""


class ReplayLearning:
    """An off-policy agent learns from replay, `updates_per_step` for each step of its clients, no
    more and no less.

    Args:
      agent: an off-policy agent.
      state: to continue with; it is copied.
      buffer: replay of `agent.train_sequence_length` rows.
      batch_size: windows in a batch.
      updates_per_step: optimizer updates for each step after the warm-up.
      warmup_steps: steps before any update is owed.
      importance_exponent: beta of the importance weights where the buffer is prioritised.
      max_backlog: training episodes wait while more updates than this are owed, so that the ratio
        holds.

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
        self._learner = Learner(agent)
        self.agent, self.buffer, self.state = agent, buffer, self._learner.place(state)
        self.num_updates, self.num_steps, self.max_backlog = 0, 0, max_backlog
        self._batch_size, self._ratio, self._warmup_steps = (
            batch_size,
            updates_per_step,
            warmup_steps,
        )
        self._beta = importance_exponent
        self._prioritised = buffer.priority_exponent is not None
        self._writers: dict[int, Callable[[Trajectory], None]] = {}
        self._first_step: int | None = None  # since when updates are owed
        self._dataset: Any = None

    def add(self, stream: int, rows: list[Trajectory], version: int) -> None:
        if stream not in self._writers:
            self._writers[stream] = self.buffer.writer()
        for row in rows:
            self._writers[stream](row)
            self.num_steps += not row.is_last()
            if (
                self._first_step is None
                and self.num_steps >= self._warmup_steps
                and self.buffer.can_sample()
            ):
                self._first_step = self.num_steps

    def backlog(self, queued: int = 0) -> int:
        if self._first_step is None:
            return 0
        return int((self.num_steps + queued - self._first_step) * self._ratio) - self.num_updates

    def advance(self) -> bool:
        if self.backlog() < 1:
            return False
        if self._dataset is None:
            self._dataset = self.buffer.as_dataset(self._batch_size)
        experience, info = next(self._dataset)
        draws = (info.probability, info.table_size) if self._prioritised else None
        self.state, _, priorities = replay_update(
            self._learner.train, self.state, experience, draws, self._beta
        )
        if priorities is not None:
            self.buffer.update_priorities(info.key, np.asarray(priorities))
        self.num_updates += 1
        return True


class OnPolicyLearning:
    """An on-policy agent learns from segments of its clients' episodes, all made with its present
    parameters.

    A segment is `num_rows` consecutive rows of a stream; an update takes `num_segments` of them,
    from as many streams as there are. Rows made with older parameters are left out, and training
    episodes wait during an update.

    Args:
      agent: an on-policy agent.
      state: to continue with; it is copied.
      num_segments: B.
      num_rows: T; boundary rows count.
      num_epochs: passes over a batch.
      num_minibatches: equal parts of a batch; an update for each.
      key: typed key of the permutations.

    Raises:
      TypeError: if the agent does not learn on policy.
      ValueError: if a number is less than 1.
    """

    max_backlog = 0

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
        self.agent, self.state = agent, jax.tree.map(jax.numpy.copy, state)
        self.num_updates = self.num_dropped = 0
        self._num_segments, self._num_rows, self._key = num_segments, num_rows, key
        self._open: dict[int, list[Trajectory]] = {}
        self._segments: list[Trajectory] = []
        self._learn = jax.jit(
            lambda state, rows, key: learn(agent, state, rows, key, num_epochs, num_minibatches)[0],
            donate_argnums=0,
        )

    def add(self, stream: int, rows: list[Trajectory], version: int) -> None:
        for row in rows:
            held = self._open.setdefault(stream, [])
            if version != self.num_updates or (held and held[-1].next_step_type != row.step_type):
                self.num_dropped += len(held)
                held.clear()
            if version != self.num_updates:
                self.num_dropped += 1
                continue
            held.append(row)
            if (
                len(held) > self._num_rows
            ):  # the last one lends its observation, and begins the next segment
                self._segments.append(jax.tree.map(lambda *leaves: np.stack(leaves), *held))
                self._open[stream] = [row]

    def backlog(self, queued: int = 0) -> int:
        return int(len(self._segments) >= self._num_segments)

    def advance(self) -> bool:
        if not self.backlog():
            return False
        rows = jax.tree.map(lambda *leaves: np.stack(leaves), *self._segments[: self._num_segments])
        self.state = self._learn(self.state, rows, jax.random.fold_in(self._key, self.num_updates))
        jax.block_until_ready(self.state.step)
        self.num_updates += 1
        self._segments, self._open = [], {}
        return True
