"""The thread on which a served policy learns."""

import asyncio
import collections
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import jax

from ..envs.types import Trajectory, Tree
from .learning import Learning
from .messages import RequestError

_log = logging.getLogger(__name__)

_PATIENCE = 30.0  # seconds that a call waits for the learner before it is refused
SAVE_SECONDS = 300.0
_PUBLISH_EVERY = 8  # updates after which those who act see new parameters while more are owed


class LearnerThread:
    """Feeds a `Learning` and publishes its parameters while others act with them.

    Args:
      learning: Learning that this thread alone uses.
      publish: Function called with (version, parameters for acting) after updates; the version
        counts updates.
      save: Function called between updates to save what was learned; None for none.
      save_seconds: Seconds after an update in which it is saved.

    Attributes:
      error: Exception that ended the thread, if one did; acting goes on with the parameters that
        were published last.
      save_error: Exception of the last call of `save`, if it failed; learning goes on.

    Raises:
      ValueError: if `save_seconds` is not above 0.
    """

    def __init__(
        self,
        learning: Learning,
        publish: Callable[[int, Tree], None],
        save: Callable[[], object] | None = None,
        save_seconds: float = SAVE_SECONDS,
    ):
        if not save_seconds > 0:
            raise ValueError(f"save_seconds: expected more than 0 seconds, got {save_seconds}")
        self.learning = learning
        self.error: Exception | None = None
        self.save_error: Exception | None = None
        self._publish = publish
        self._save = save
        self._save_seconds = save_seconds
        self._save_at: float | None = None  # by when the oldest update is to be saved
        # Copies: the next update donates the state they are part of.
        self._params = jax.jit(
            lambda state: jax.tree.map(jax.numpy.copy, learning.agent.policy_params(state))
        )
        self._queue: collections.deque[tuple[int, list[Trajectory], int]] = collections.deque()
        self._queued_steps = 0
        self._stopping = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="learner", daemon=True)

    def start(self) -> None:
        """Publishes the initial parameters and starts the thread."""
        self._publish_state()
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread after the current update; rows that still wait are added."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def add(self, stream: int, rows: list[Trajectory], version: int) -> None:
        """Hands over consecutive rows of a stream, as `Learning.add` takes them; does not wait."""
        if self.error is None:
            with self._changed:
                self._queue.append((stream, rows, version))
                self._queued_steps += _num_steps(rows)
                self._changed.notify()

    @property
    def behind(self) -> bool:
        """True if more updates are owed than `Learning.max_backlog`, so training episodes wait."""
        with self._changed:
            return (
                self.error is None
                and self.learning.backlog(self._queued_steps) > self.learning.max_backlog
            )

    async def wait(self) -> None:
        """Waits until the learner is not `behind`.

        Raises:
          RequestError: 429 if that takes more than half a minute.
        """
        deadline = time.monotonic() + _PATIENCE
        while self.behind:
            if time.monotonic() > deadline:
                owed = self.learning.backlog()
                raise RequestError(
                    429,
                    f"the learner is {owed} updates behind; try again, or lower updates_per_step",
                )
            await asyncio.sleep(0.002)

    def health(self) -> dict[str, Any]:
        """Returns numbers for a monitor, as JSON."""
        report: dict[str, Any] = {
            "learning": self.error is None,
            "num_updates": self.learning.num_updates,
            "num_updates_skipped": self.learning.num_skipped,  # they were not finite
            "updates_owed": self.learning.backlog(),
        }
        if self.error is not None:
            report["learning_error"] = repr(self.error)
        if self.save_error is not None:
            report["save_error"] = repr(self.save_error)
        return report

    def _run(self) -> None:
        try:
            while self._take():
                updates = 0
                while not self._stopping and self.learning.advance():
                    updates += 1
                    self._save_if_due(learned=True)
                    if updates % _PUBLISH_EVERY == 0:
                        self._publish_state()
                        self._drain()
                if updates % _PUBLISH_EVERY:
                    self._publish_state()
                self._save_if_due()
        except Exception as error:  # the thread ends, and `PolicyService.health` reports it
            self.error = error

    def _publish_state(self) -> None:
        self._publish(self.learning.num_updates, self._params(self.learning.state))

    def _save_if_due(self, learned: bool = False) -> None:
        now = time.monotonic()
        if learned and self._save_at is None:
            self._save_at = now + self._save_seconds
        if self._save is None or self._save_at is None or now < self._save_at:
            return
        self._save_at = None
        try:
            self._save()
            self.save_error = None
        except Exception as error:  # a full disk, say; what was saved before is whole
            self.save_error = error
            self._save_at = time.monotonic() + self._save_seconds
            _log.warning("no checkpoint: %s", error)

    def _take(self) -> bool:
        left = None
        if self._save is not None and self._save_at is not None:
            left = max(0.0, self._save_at - time.monotonic())
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._stopping, left)
        self._drain()
        return not self._stopping

    def _drain(self) -> None:
        while self._queue:
            stream, rows, version = self._queue.popleft()
            self.learning.add(stream, rows, version)
            with self._changed:
                self._queued_steps -= _num_steps(rows)


def _num_steps(rows: list[Trajectory]) -> int:
    return sum(not row.is_last() for row in rows)
