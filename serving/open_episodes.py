"""The episodes that clients have open: whose turn it is, which stream their rows belong to, and
which were left behind.
"""

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
from .wire import RequestError


@dataclasses.dataclass(eq=False)
class OpenEpisode:
    """One of them.

    Attributes:
      number: of the episodes before it.
      training: whether it is learned from.
      stream: that its rows belong to, if it is learned from.
      policy_state: the policy's memory.
      version: of the parameters that chose its newest action.
      last_seen: when its client was last heard of, by `time.monotonic`.
      recorder: makes its rows.
      busy: a call of it is under way.
    """

    number: np.int32
    training: bool
    stream: int | None
    policy_state: Tree
    version: int
    last_seen: float = dataclasses.field(default_factory=time.monotonic)
    recorder: EpisodeRecorder = dataclasses.field(default_factory=EpisodeRecorder)
    busy: bool = False


class OpenEpisodes:
    """Open episodes by their ids. A stream is that of one episode at a time; the next takes the
    lowest that is free.

    Args:
      episode_timeout: seconds after which an idle episode is freed: its client has gone.
      max_episodes: the most that may be open.

    Raises:
      ValueError: if a number is out of range.
    """

    def __init__(self, episode_timeout: float, max_episodes: int):
        if not episode_timeout > 0 or max_episodes < 1:
            raise ValueError(
                f"episodes: expected both above 0, got {episode_timeout=}, {max_episodes=}"
            )
        self.episode_timeout, self.max_episodes = episode_timeout, max_episodes
        self.num_finished = self.num_expired = 0
        self._open: dict[str, OpenEpisode] = {}
        self._counts = {True: 0, False: 0}
        self._num_started = self._num_streams = 0
        self._free_streams: list[int] = []
        self._recent: collections.deque[tuple[float, int]] = collections.deque(maxlen=100)

    def count(self, training: bool) -> int:
        """How many that are learned from, or are not, are open."""
        return self._counts[training]

    def start(self, training: bool, policy_state: Tree, version: int) -> str:
        """The id of a new episode.

        Raises:
          RequestError: 429 if too many are open.
        """
        if len(self._open) >= self.max_episodes:
            raise RequestError(
                429, f"{len(self._open)} episodes are open, the most there may be; end some first"
            )
        episode_id, number = uuid.uuid4().hex, np.int32(self._num_started & 0x7FFFFFFF)
        stream = self._take_stream() if training else None
        self._open[episode_id] = OpenEpisode(number, training, stream, policy_state, version)
        self._num_started += 1
        self._counts[training] += 1
        return episode_id

    def find(self, episode_id: str) -> OpenEpisode:
        """An open episode, whose client has been heard of now.

        Raises:
          RequestError: 404 if it is not open.
        """
        episode = self._open.get(episode_id)
        if episode is None:
            raise RequestError(
                404,
                f"no episode {episode_id[:40]!r} is open; it has ended, or was idle for "
                f"{self.episode_timeout:g} seconds, or "
                "never was: start one",
            )
        episode.last_seen = time.monotonic()
        return episode

    @contextlib.contextmanager
    def turn(self, episode_id: str) -> Iterator[OpenEpisode]:
        """An open episode, for one call of it at a time.

        Raises:
          RequestError: 404 if it is not open, 409 while another call of it is under way.
        """
        episode = self.find(episode_id)
        if episode.busy:
            raise RequestError(
                409, "another call of this episode is under way; wait for its answer"
            )
        episode.busy = True
        try:
            yield episode
        finally:
            episode.busy, episode.last_seen = False, time.monotonic()

    def finish(self, episode_id: str) -> None:
        """Ends an episode that has had its last observation."""
        recorder = self._free(episode_id).recorder
        self._recent.append((recorder.total_reward, recorder.num_steps))
        self.num_finished += 1

    def expire(self) -> None:
        """Frees the episodes whose clients have not been heard of for `episode_timeout` seconds."""
        oldest = time.monotonic() - self.episode_timeout
        for episode_id in [i for i, e in self._open.items() if e.last_seen < oldest and not e.busy]:
            self._free(episode_id)
            self.num_expired += 1

    def health(self) -> dict[str, Any]:
        """Numbers for a monitor; the means are over the last 100 episodes that ended, None before
        the first.
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
