"""A policy as a service: episodes that happen elsewhere, answered in batches, and learned from. No
HTTP here.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from ..agents.agent import Agent, TrainState
from ..envs.preprocessing import Preprocessor
from ..envs.specs import zeros
from ..envs.time_step import restart
from ..envs.types import Array, PolicyStep, TimeStep, Trajectory, Tree
from . import wire
from .batching import ActionBatcher, ActionRequest
from .learning import LearnerThread, Learning
from .open_episodes import OpenEpisode, OpenEpisodes
from .wire import RequestError

_log = logging.getLogger(__name__)
_PATIENCE = (
    30.0  # seconds that a training episode waits for the learner, before it is told to come again
)


class LoggedAction(NamedTuple):
    """An action that somebody else chose: on what, what the policy would have stored with it, and
    what it earned so far.
    """

    observation: Tree
    action: Tree
    policy_info: Tree | None = None
    reward: float = 0.0


class PolicyService:
    """Serves an agent's policies to many episodes at a time; all methods belong to one event loop.

        async with PolicyService(agent, state) as service:
            episode = service.start_episode()
            action, version = await service.get_action(episode, observation)

    Training episodes act with `agent.collect_policy` and their rows go to `learning`, on a thread
    of its own; others act with `agent.policy`. Observations and actions are NumPy trees that were
    checked against the specs (`wire.from_json`), and preprocessed.

    Args:
      agent: what to serve.
      state: its state; None with `learning`, which has its own.
      learning: how it learns (`ReplayLearning`, `OnPolicyLearning`); None: it does not.
      key: typed key of the policies' draws; an action's depends on its episode's number and its
        step alone.
      max_batch_size, max_wait, exact: of the batches; see `ActionBatcher`.
      episode_timeout: seconds after which an idle episode is freed: its client has gone.
      max_episodes: the most that may be open.
      act: in place of the compiled policy call; see `ActionBatcher`.
      preprocessor: what the agent's environment has (`Trainer.preprocessor`): clients then send
        what gymnasium's environments return, discrete values counted from 0, and it is preprocessed
        here.

    Raises:
      ValueError: if neither or both of `state` and `learning` are given, or a number is out of
        range.
    """

    def __init__(
        self,
        agent: Agent,
        state: TrainState | None = None,
        *,
        learning: Learning | None = None,
        key: Array | None = None,
        max_batch_size: int = 64,
        max_wait: float = 0.001,
        exact: bool = True,
        episode_timeout: float = 600.0,
        max_episodes: int = 10_000,
        act: Any = None,
        preprocessor: Preprocessor | None = None,
    ):
        if (state is None) == (learning is None):
            raise ValueError(
                "PolicyService: expected either a state to serve, or learning, which has one"
            )
        self.agent, self.learning = agent, learning
        self.preprocess: Callable[[Tree], Tree] = (
            (lambda tree: tree) if preprocessor is None else preprocessor.from_raw
        )
        self.observation_spec: Tree = (
            agent.specs.observation if preprocessor is None else preprocessor.raw_spec
        )
        self.num_steps = 0
        self._state = state
        self._published: tuple[int, Tree] = (
            0,
            None if state is None else agent.policy_params(state),
        )
        self._learner = None if learning is None else LearnerThread(learning, self._publish)
        self._episodes = OpenEpisodes(episode_timeout, max_episodes)
        self._packed: tuple[int, bytes] = (-1, b"")
        # evolution strategies have no rows, and no spec of them
        self.info_spec: Tree = (
            agent.collect_data_spec.policy_info if hasattr(agent, "collect_data_spec") else ()
        )
        self._executor = ThreadPoolExecutor(1, "policy")
        key = jax.random.key(0) if key is None else key
        self._batchers = {
            training: ActionBatcher(
                agent.collect_policy if training else agent.policy,
                self._newest,
                key,
                self._executor,
                max_batch_size=max_batch_size,
                max_wait=max_wait,
                exact=exact,
                num_clients=partial(self._episodes.count, training),
                act=act,
            )
            for training in ((False,) if learning is None else (False, True))
        }
        self._tasks: list[asyncio.Task] = []

    async def __aenter__(self) -> "PolicyService":
        if self._learner is not None:
            self._learner.start()
        example = restart(zeros(self.agent.specs.observation))
        for batcher in self._batchers.values():
            await asyncio.get_running_loop().run_in_executor(
                self._executor, batcher.warm_up, example
            )
        self._tasks = [asyncio.create_task(batcher.run()) for batcher in self._batchers.values()]
        self._tasks.append(asyncio.create_task(self._expire_for_ever()))
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._learner is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._learner.stop)
        self._executor.shutdown()

    @property
    def state(self) -> TrainState:
        """The agent's state; with learning, ask once the service has stopped."""
        state = self._state if self.learning is None else self.learning.state
        assert state is not None
        return state

    @property
    def version(self) -> int:
        """Of the parameters that act now: the updates since the service began."""
        return self._published[0]

    # -- what clients ask

    def start_episode(self, training_enabled: bool | None = None) -> str:
        """The id of a new episode; `training_enabled=None`: it is learned from if the service
        learns.

        Raises:
          RequestError: 409 if it is to be learned from and the service does not learn; 429 if too
            many are open.
        """
        training = self.learning is not None if training_enabled is None else training_enabled
        if training and self._learner is None:
            raise RequestError(
                409,
                "training_enabled: this server does not learn; start it with --train, or the "
                "episode with false",
            )
        if training and self._learner is not None and self._learner.error is not None:
            raise RequestError(
                409,
                f"training_enabled: learning has ended with {self._learner.error!r}; ask with "
                "false",
            )
        policy_state = jax.tree.map(np.asarray, self._batchers[training].policy.initial_state())
        return self._episodes.start(training, policy_state, self.version)

    def describe(self, episode_id: str) -> dict[str, Any]:
        """The id of an open episode, whether it is learned from, and the version of the parameters
        that act now.
        """
        return {
            "episode_id": episode_id,
            "training": self._episodes.find(episode_id).training,
            "version": self.version,
        }

    async def get_action(self, episode_id: str, observation: Tree) -> tuple[Tree, int]:
        """The policy's action on an observation, and the version of the parameters that chose it.

        Raises:
          RequestError: 404 for an unknown episode, 409 while another call of it is under way.
        """
        async with self._turn(episode_id) as episode:
            time_step = self._observe(episode, observation)
            step, episode.version = await self._ask(episode, time_step)
            episode.recorder.act(step._replace(state=()))
            self.num_steps += 1
            return step.action, episode.version

    async def log_actions(
        self, episode_id: str, actions: Sequence[LoggedAction], version: int | None = None
    ) -> None:
        """Takes down actions that were chosen elsewhere; `version` is that of the parameters which
        chose them.

        Raises:
          RequestError: as `get_action`, and 422 if the agent learns from what its policy stores,
            and this is missing.
        """
        async with self._turn(episode_id) as episode:
            needed = episode.training and jax.tree.leaves(self.info_spec)
            if needed and any(logged.policy_info is None for logged in actions):
                told = jax.tree.map(str, self.info_spec)
                raise RequestError(
                    422, f"policy_info: expected {told}, from which {type(self.agent).__name__} learns, got none; let the "
                    "server or PolicyClient(inference='local') choose the actions, or turn "
                    "training off"
                )  # fmt: skip
            for logged in actions:
                time_step = self._observe(episode, logged.observation)
                episode.version = self.version if version is None else version
                if jax.tree.leaves(episode.policy_state):  # a memory goes on, whoever acts
                    await self._ask(episode, time_step)
                info = (
                    logged.policy_info
                    if needed
                    else jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), self.info_spec)
                )
                episode.recorder.act(PolicyStep(logged.action, (), info))
                episode.recorder.reward(logged.reward)
                self.num_steps += 1

    def log_returns(self, episode_id: str, reward: float, info: Any = None) -> None:
        """Adds to what the last action earned; `info` is written to the log, at level DEBUG.

        Raises:
          RequestError: 404 for an unknown episode, 409 while another call of it is under way.
          WireError: the sum is more than float32 can hold.
        """
        with self._episodes.turn(episode_id) as episode:
            episode.recorder.reward(reward)
        if info is not None:
            _log.debug("episode %s: %s", episode_id, info)

    async def end_episode(
        self, episode_id: str, observation: Tree, truncated: bool = False
    ) -> None:
        """The last observation: the task is over, or (`truncated`) was cut off, by a time limit
        say.

        Raises:
          RequestError: as `get_action`.
        """
        async with self._turn(episode_id) as episode:
            self._learn(episode, episode.recorder.end(observation, truncated))
            self._episodes.finish(episode_id)

    def parameters(self) -> tuple[int, bytes]:
        """The version and the arrays of the parameters that act now (`wire.pack_arrays`), for
        clients that act themselves.
        """
        version, params = self._published
        if self._packed[0] != version:
            self._packed = (version, wire.pack_arrays(jax.device_get(params)))
        return self._packed

    def health(self) -> dict[str, Any]:
        """What a monitor wants to know; plain JSON. `return_mean` is over the last 100 episodes
        that ended.
        """
        learner = self._learner
        requests, batches = (
            sum(getattr(b, name) for b in self._batchers.values())
            for name in ("num_requests", "num_batches")
        )
        report: dict[str, Any] = {
            "status": "serving",
            "agent": type(self.agent).__name__,
            "version": self.version,
            **self._episodes.health(),
            "num_steps": self.num_steps,
            "batch_size_mean": round(requests / batches, 2) if batches else None,
            "learning": learner is not None and learner.error is None,
        }
        if learner is not None:
            report |= {
                "num_updates": learner.learning.num_updates,
                "updates_owed": learner.learning.backlog(),
            }
            report |= {} if learner.error is None else {"learning_error": repr(learner.error)}
        return report

    # -- inside

    def _publish(self, version: int, params: Tree) -> None:
        self._published = (
            version,
            params,
        )  # one assignment: a batch sees the old ones or the new ones

    def _newest(self) -> tuple[int, Tree]:
        return self._published

    @contextlib.asynccontextmanager
    async def _turn(self, episode_id: str) -> AsyncIterator[OpenEpisode]:
        """One call of an episode at a time; those of training episodes wait until the learner has
        caught up.
        """
        with self._episodes.turn(episode_id) as episode:
            if episode.training:
                await self._wait_for_learner()
            yield episode

    def _observe(self, episode: OpenEpisode, observation: Tree) -> TimeStep:
        time_step, rows = episode.recorder.observe(observation)
        self._learn(episode, rows)
        return time_step

    async def _ask(self, episode: OpenEpisode, time_step: TimeStep) -> tuple[PolicyStep, int]:
        request = ActionRequest(
            time_step, episode.policy_state, episode.number, np.int32(episode.recorder.num_steps)
        )
        step, version = await self._batchers[episode.training].action(request)
        episode.policy_state = step.state
        return step, version

    def _learn(self, episode: OpenEpisode, rows: list[Trajectory]) -> None:
        if rows and episode.stream is not None and self._learner is not None:
            self._learner.add(episode.stream, rows, episode.version)

    async def _wait_for_learner(self) -> None:
        deadline = time.monotonic() + _PATIENCE
        while self._learner is not None and self._learner.behind:
            if time.monotonic() > deadline:
                owed = self._learner.learning.backlog()
                raise RequestError(
                    429,
                    f"the learner is {owed} updates behind; try again, or lower updates_per_step",
                )
            await asyncio.sleep(0.002)

    async def _expire_for_ever(self) -> None:
        while True:
            await asyncio.sleep(min(self._episodes.episode_timeout / 4, 10.0))
            self._episodes.expire()
