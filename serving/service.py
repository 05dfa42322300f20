"""A policy as a service for episodes that happen elsewhere, without HTTP."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import numpy as np

from ..agents.agent import Agent, TrainState
from ..envs.preprocessing import Preprocessor
from ..envs.specs import zeros
from ..envs.time_step import restart
from ..envs.types import Array, PolicyStep, TimeStep, Trajectory, Tree
from .batching import Act, ActionBatcher, ActionRequest
from .encoding import pack_arrays
from .episodes import LoggedAction
from .learner_thread import SAVE_SECONDS, LearnerThread
from .learning import Learning
from .messages import MAX_MAGNITUDE, RequestError, raw_observations
from .open_episodes import OpenEpisode, OpenEpisodes
from .parameters import named_arrays

_log = logging.getLogger(__name__)


class PolicyService:
    """Serves an agent's policies to many episodes at a time; all methods belong to one event loop.

        async with PolicyService(agent, state) as service:
            episode = service.start_episode()
            action, version = await service.get_action(episode, observation)

    Training episodes act with `agent.collect_policy`, and their rows go to `learning` on a thread
    of its own; the others act with `agent.policy`. Observations and actions are NumPy trees that
    were checked against the specs (`messages.parse`), and preprocessed.

    Args:
      agent: Agent to serve.
      state: State of the agent; None with `learning`, which has its own.
      learning: Learning from the clients' episodes (`ReplayLearning`, `OnPolicyLearning`); None
        to serve without.
      key: Typed random key of the policies' draws; the draw of an action depends on the number of
        its episode and its step alone.
      max_batch_size: Greatest number of requests in a batch, a power of two; see `ActionBatcher`.
      max_wait: Seconds that a batch waits for more requests; see `ActionBatcher`.
      exact: False to compute batches at once; see `ActionBatcher`.
      episode_timeout: Seconds after which an idle episode is freed, since its client has gone.
      max_episodes: Greatest number of open episodes.
      act: Function in place of the compiled policy call, for tests; see `ActionBatcher`.
      preprocessor: Preprocessor of the agent's environment (`Trainer.preprocessor`). Clients then
        send what gymnasium's environments return, with discrete values counted from 0, and it is
        preprocessed here.
      max_magnitude: Greatest magnitude of the observations and rewards that are taken.
      save: Function that saves what was learned, called between updates on the learner's thread;
        None for none.
      save_seconds: Seconds after an update in which it is saved.

    Attributes:
      observation_spec: Spec of the observations that clients send.
      preprocess: Function from such an observation to one of the agent's.
      info_spec: Spec of what the agent's collect policy stores with each action.
      num_steps: Number of actions so far.

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
        act: Act | None = None,
        preprocessor: Preprocessor | None = None,
        max_magnitude: float = MAX_MAGNITUDE,
        save: Callable[[], object] | None = None,
        save_seconds: float = SAVE_SECONDS,
    ):
        if (state is None) == (learning is None):
            raise ValueError(
                "PolicyService: expected either a state to serve, or learning, which has one"
            )
        self.agent = agent
        self.learning = learning
        self.observation_spec, self.preprocess = raw_observations(agent, preprocessor)
        # Evolution strategies have no rows, and no spec of them.
        has_rows = hasattr(agent, "collect_data_spec")
        self.info_spec: Tree = agent.collect_data_spec.policy_info if has_rows else ()
        self.num_steps = 0
        self.max_magnitude = max_magnitude
        self._state = state
        self._published = (0, None if state is None else agent.policy_params(state))
        self._learner = (
            None if learning is None else LearnerThread(learning, self._publish, save, save_seconds)
        )
        self._episodes = OpenEpisodes(episode_timeout, max_episodes, max_magnitude)
        self._packed: tuple[int, bytes] = (-1, b"")
        self._executor = ThreadPoolExecutor(1, "policy")
        key = jax.random.key(0) if key is None else key
        self._batchers = {
            training: ActionBatcher(
                agent.collect_policy if training else agent.policy,
                lambda: self._published,
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
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "PolicyService":
        if self._learner is not None:
            self._learner.start()
        loop = asyncio.get_running_loop()
        example = restart(zeros(self.agent.specs.observation))
        for batcher in self._batchers.values():
            await loop.run_in_executor(self._executor, batcher.warm_up, example)
        self._tasks = [asyncio.create_task(batcher.run()) for batcher in self._batchers.values()]
        self._tasks.append(asyncio.create_task(self._episodes.expire_for_ever()))
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
        """The agent's state; with learning, read it once the service has stopped."""
        state = self._state if self.learning is None else self.learning.state
        assert state is not None
        return state

    @property
    def version(self) -> int:
        """The version of the parameters that act now: updates since the service began."""
        return self._published[0]

    def start_episode(self, training_enabled: bool | None = None) -> str:
        """Starts an episode and returns its id.

        Args:
          training_enabled: True to learn from the episode; None to do so if the service learns.

        Raises:
          RequestError: 409 if the service does not learn but should; 429 if too many episodes are
            open.
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
        """Returns the answer for a new episode, as JSON.

        It holds the episode's id, if it is learned from, and the version of the parameters.
        """
        return {
            "episode_id": episode_id,
            "training": self._episodes.find(episode_id).training,
            "version": self.version,
        }

    async def get_action(self, episode_id: str, observation: Tree) -> tuple[Tree, int]:
        """Returns the policy's action, and the version of the parameters that chose it.

        Args:
          episode_id: Id of the episode.
          observation: Observation to act on.

        Raises:
          RequestError: 404 for an unknown episode, 409 during another call of it, 429 if the
            learner is too far behind.
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
        """Records actions that were chosen elsewhere.

        Args:
          episode_id: Id of the episode.
          actions: Actions in order.
          version: Version of the parameters that chose them; None for the present one.

        Raises:
          RequestError: as `get_action`, and 422 if the agent learns from what its policy stores and
            this is missing.
        """
        async with self._turn(episode_id) as episode:
            needed = episode.training and jax.tree.leaves(self.info_spec)
            if needed and any(logged.policy_info is None for logged in actions):
                raise RequestError(
                    422,
                    f"policy_info: expected {jax.tree.map(str, self.info_spec)}, from which "
                    f"{type(self.agent).__name__} learns, got none; let the server or "
                    "LocalPolicyClient choose the actions, or turn training off",
                )
            for logged in actions:
                time_step = self._observe(episode, logged.observation)
                episode.version = self.version if version is None else version
                if jax.tree.leaves(episode.policy_state):  # a memory goes on, whoever acts
                    await self._ask(episode, time_step)
                info = logged.policy_info if needed else zeros(self.info_spec)
                episode.recorder.act(PolicyStep(logged.action, (), info))
                episode.recorder.reward(logged.reward)
                self.num_steps += 1

    def log_returns(self, episode_id: str, reward: float, info: Any = None) -> None:
        """Adds to the reward of the last action.

        Args:
          episode_id: Id of the episode.
          reward: Reward.
          info: Note for the log, at level DEBUG.

        Raises:
          RequestError: 404 for an unknown episode, 409 during another call of it.
          MessageError: if the sum is of too great a magnitude.
        """
        with self._episodes.turn(episode_id) as episode:
            episode.recorder.reward(reward)
        if info is not None:
            _log.debug("episode %s: %s", episode_id, info)

    async def end_episode(
        self, episode_id: str, observation: Tree, truncated: bool = False
    ) -> None:
        """Ends an episode.

        Args:
          episode_id: Id of the episode.
          observation: Last observation.
          truncated: True if the episode was cut off, by a time limit say, before its task was over.

        Raises:
          RequestError: as `get_action`.
        """
        async with self._turn(episode_id) as episode:
            self._learn(episode, episode.recorder.end(observation, truncated))
            self._episodes.finish(episode_id)

    def parameters(self) -> tuple[int, bytes]:
        """Returns the version and the arrays (`.npz`) of the parameters that act now."""
        version, params = self._published
        if self._packed[0] != version:
            self._packed = (version, pack_arrays(named_arrays(jax.device_get(params))))
        return self._packed

    def health(self) -> dict[str, Any]:
        """Returns numbers for a monitor, as JSON; `return_mean` is of the last 100 episodes."""
        requests = sum(batcher.num_requests for batcher in self._batchers.values())
        batches = sum(batcher.num_batches for batcher in self._batchers.values())
        report = {
            "status": "serving",
            "agent": type(self.agent).__name__,
            "version": self.version,
            **self._episodes.health(),
            "num_steps": self.num_steps,
            "batch_size_mean": round(requests / batches, 2) if batches else None,
            "learning": False,
        }
        return report if self._learner is None else report | self._learner.health()

    def _publish(self, version: int, params: Tree) -> None:
        # One assignment: a batch sees the old ones or the new ones.
        self._published = (version, params)

    @contextlib.asynccontextmanager
    async def _turn(self, episode_id: str) -> AsyncIterator[OpenEpisode]:
        """Gives an episode for one call of it; training episodes wait for the learner first."""
        with self._episodes.turn(episode_id) as episode:
            if episode.training and self._learner is not None:
                await self._learner.wait()
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
