"""The queue of on-policy experience in this process."""

import collections
import threading
import time
from collections.abc import Callable

from ...envs.types import Trajectory
from .queue import ExperienceQueue


class HostQueue(ExperienceQueue):
    """An `ExperienceQueue` in this process: for one thread, or for threads that act and a learner.

    Example, PPO's half of an iteration in a notebook (n environments, so n segments at a time):

        queue = replay.HostQueue(agent.collect_data_spec, num_rows=128)
        driver = drivers.Driver(env, agent.collect_policy, [queue.add])
        dataset = queue.as_dataset(n)
        queue.bootstrap(driver.run(num_rows=128, params=agent.policy_params(state)))
        state, batch = prepare(state, next(dataset))

    Args:
      spec: Specs of one row, `agent.collect_data_spec`.
      num_rows: Number of rows of a segment, or of steps that an episode may have.
      episodes: True if items are whole episodes.
      capacity: Largest number of items that wait.
      timeout: Seconds after which a blocked call raises.

    Raises:
      ValueError: No queue could serve an argument.
    """

    def __init__(
        self,
        spec: Trajectory,
        *,
        num_rows: int,
        episodes: bool = False,
        capacity: int = 64,
        timeout: float = 30.0,
    ):
        super().__init__(spec, num_rows, episodes, capacity, timeout)
        self._items: collections.deque[Trajectory] = collections.deque()
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._items)

    def close(self) -> None:
        """Ends each blocked or later `next()` and `add`; see `ExperienceQueue.close`."""
        super().close()
        with self._changed:
            self._changed.notify_all()

    def _put(self, items: collections.deque[Trajectory], deadline: float) -> bool:
        with self._changed:
            while items:
                if not self._wait(lambda: len(self._items) < self.capacity, deadline):
                    return False
                self._items.append(items.popleft())
                self._changed.notify_all()
        return True

    def _get(self, count: int, deadline: float) -> list[Trajectory]:
        with self._changed:
            if not self._wait(lambda: bool(self._items), deadline):
                return []
            items = [self._items.popleft() for _ in range(min(count, len(self._items)))]
            self._changed.notify_all()
            return items

    def _wait(self, ready: Callable[[], bool], deadline: float) -> bool:
        """Returns True if it is ready before the deadline, and the queue still open."""
        self._changed.wait_for(
            lambda: self.closed.is_set() or ready(), max(0.0, deadline - time.monotonic())
        )
        return ready() and not self.closed.is_set()
