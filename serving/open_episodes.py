"""The episodes that clients have open: turns, streams of rows, and episodes left behind."""

import asyncio
import collections
import contextlib
import dataclasses
import heapq
import time
import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..envs.types import Tree
from .episodes import EpisodeRecorder
from .messages import MAX_MAGNITUDE, RequestError


@dataclasses.dataclass(eq=False)
class OpenEpisode:
    """An open episode.

    Attributes:
      number: Number of episodes that were started before it.
      training: True if it is learned from.
      stream: Stream that its rows belong to, if it is learned from.
      policy_state: Recurrent state of the policy.
      version: Version of the parameters that chose its newest action.
      recorder: Recorder of its rows.
      last_seen: Time of its client's last call, by `time.monotonic`.
      busy: True during a call of it.
    """

    number: np.int32
    training: bool
    stream: int | None
    policy_state: Tree
    version: int
    recorder: EpisodeRecorder
    last_seen: float = dataclasses.field(default_factory=time.monotonic)
    busy: bool = False


class OpenEpisodes:
    """Holds the open episodes by their ids.

    A stream belongs to one episode at a time; the next episode takes the lowest that is free.

    Args:
      episode_timeout: Seconds after which an idle episode is freed, since its client has gone.
      max_episodes: Greatest number of open episodes.
      max_reward: Greatest magnitude of the reward of a step.

    Attributes:
      num_finished: Number of episodes that have ended.
      num_expired: Number of episodes that were freed.

    Raises:
      ValueError: if a number is out of range.
    """

    def __init__(
        self, episode_timeout: float, max_episodes: int, max_reward: float = MAX_MAGNITUDE
    ):
        if not episode_timeout > 0 or max_episodes < 1:
            raise ValueError(
                f"episodes: expected both above 0, got {episode_timeout=}, {max_episodes=}"
            )
        self.episode_timeout = episode_timeout
        self.max_episodes = max_episodes
        self.max_reward = max_reward
        self.num_finished = 0
        self.num_expired = 0
        self._open: dict[str, OpenEpisode] = {}
        self._counts = {True: 0, False: 0}
        self._num_started = 0
        self._num_streams = 0
        self._free_streams: list[int] = []
        self._recent: collections.deque[tuple[float, int]] = collections.deque(maxlen=100)

    def count(self, training: bool) -> int:
        """Returns the number of open episodes that are learned from, or of those that are not."""
        return self._counts[training]

    def start(self, training: bool, policy_state: Tree, version: int) -> str:
        """Starts an episode and returns its id.

        Args:
          training: True to learn from it.
          policy_state: Initial recurrent state of the policy.
          version: Version of the parameters that act now.

        Raises:
          RequestError: 429 if too many are open.
        """
        if len(self._open) >= self.max_episodes:
            raise RequestError(
                429, f"{len(self._open)} episodes are open, the most there may be; end some first"
            )
        episode_id = uuid.uuid4().hex
        number = np.int32(self._num_started & 0x7FFFFFFF)
        stream = self._take_stream() if training else None
        recorder = EpisodeRecorder(self.max_reward)
        self._open[episode_id] = OpenEpisode(
            number, training, stream, policy_state, version, recorder
        )
        self._num_started += 1
        self._counts[training] += 1
        return episode_id

    def find(self, episode_id: str) -> OpenEpisode:
        """Returns an open episode, and notes that its client has called.

        Raises:
          RequestError: 404 if it is not open.
        """
        episode = self._open.get(episode_id)
        if episode is None:
            raise RequestError(
                404,
                f"no episode {episode_id[:40]!r} is open; it has ended, was idle for "
                f"{self.episode_timeout:g} seconds, or was never started: start one",
            )
        episode.last_seen = time.monotonic()
        return episode

    @contextlib.contextmanager
    def turn(self, episode_id: str) -> Iterator[OpenEpisode]:
        """Gives an open episode to one call at a time.

        Raises:
          RequestError: 404 if it is not open, 409 during another call of it.
        """
        episode = self.find(episode_id)
        if episode.busy:
            raise RequestError(409, "another call of this episode is running; wait for its answer")
        episode.busy = True
        try:
            yield episode
        finally:
            episode.busy = False
            episode.last_seen = time.monotonic()

    def finish(self, episode_id: str) -> None:
        """Ends an episode that has had its last observation."""
        recorder = self._free(episode_id).recorder
        self._recent.append((recorder.total_reward, recorder.num_steps))
        self.num_finished += 1

    def expire(self) -> None:
        """Frees the episodes whose clients have not called for `episode_timeout` seconds."""
        oldest = time.monotonic() - self.episode_timeout
        for episode_id in [i for i, e in self._open.items() if e.last_seen < oldest and not e.busy]:
            self._free(episode_id)
            self.num_expired += 1

    async def expire_for_ever(self) -> None:
        """Calls `expire` again and again, until it is cancelled."""
        while True:
            await asyncio.sleep(min(self.episode_timeout / 4, 10.0))
            self.expire()

    def health(self) -> dict[str, Any]:
        """Returns numbers for a monitor, as JSON.

        The means are over the last 100 episodes that ended, and None before the first.
        """
        return {
            "episodes_open": len(self._open),
            "episodes_finished": self.num_finished,
            "episodes_expired": self.num_expired,
            "return_mean": float(np.mean([r for r, _ in self._recent])) if self._recent else None,
            "length_mean": float(np.mean([n for _, n in self._recent])) if self._recent else None,
        }

    def _take_stream(self) -> int:
        if self._free_streams:
            return heapq.heappop(self._free_streams)
        self._num_streams += 1
        return self._num_streams - 1

    def _free(self, episode_id: str) -> OpenEpisode:
        episode = self._open.pop(episode_id)
        self._counts[episode.training] -= 1
        if episode.stream is not None:
            heapq.heappush(self._free_streams, episode.stream)
        return episode
