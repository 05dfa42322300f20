"""A policy client that acts itself, with the server's parameters, and reports in batches."""

import dataclasses
import math
import time
from typing import Any

import jax
import numpy as np

from ..agents.agent import Agent
from ..envs.preprocessing import Preprocessor
from ..envs.time_step import restart, transition
from ..envs.types import Tree
from ..policies.policy import Policy, act
from .client import PolicyClient
from .encoding import to_json
from .messages import parse, parse_number, raw_observations
from .parameters import fill


@dataclasses.dataclass(eq=False)
class _Episode:
    """An open episode, with the actions that the server does not know of yet."""

    id: str
    number: int
    training: bool
    policy: Policy
    policy_state: Tree
    version: int
    reward: float = 0.0
    num_steps: int = 0
    actions: list[dict[str, Any]] = dataclasses.field(default_factory=list)


class LocalPolicyClient(PolicyClient):
    """Chooses actions in this process, and reports them to the server in batches.

    It has the methods of `PolicyClient`, fetches the parameters from the server, and needs JAX.

    Args:
      address: Address of the server, such as http://127.0.0.1:8000.
      agent: Agent that is built as the server's is.
      token: Bearer token, if the server asks for one.
      log_every: Number of actions in a batch.
      update_interval: Seconds after which to ask for newer parameters; a newer version that the
        server mentions is fetched at once.
      seed: Seed of the policy's draws.
      preprocessor: Preprocessor of the server (`PolicyService`), if it has one.
      timeout: Seconds to wait for an answer.

    Raises:
      ValueError: if the address is not one of HTTP, or a number is out of range.
    """

    def __init__(
        self,
        address: str,
        agent: Agent,
        token: str | None = None,
        *,
        log_every: int = 32,
        update_interval: float = 10.0,
        seed: int = 0,
        preprocessor: Preprocessor | None = None,
        timeout: float = 60.0,
    ):
        super().__init__(address, token, timeout=timeout)
        if log_every < 1 or not update_interval > 0:
            raise ValueError(
                f"expected log_every >= 1 and update_interval > 0, got {log_every=}, "
                f"{update_interval=}"
            )
        self._agent = agent
        self._observation_spec, self._preprocess = raw_observations(agent, preprocessor)
        self._log_every = log_every
        self._interval = update_interval
        self._key = jax.random.key(seed)
        self._template = jax.eval_shape(
            lambda key: agent.policy_params(agent.init(key)), jax.random.key(0)
        )
        self._episodes: dict[str, _Episode] = {}
        self._num_started = 0
        self._version = -1  # of the parameters here
        self._newest = 0  # that the server has mentioned
        self._asked = 0.0
        self._params: Tree = None

    def start_episode(self, training_enabled: bool | None = None) -> str:
        """Starts an episode and returns its id; see `PolicyClient`."""
        answer = self.request("POST", "/episodes", {"training_enabled": training_enabled})
        policy = self._agent.collect_policy if answer["training"] else self._agent.policy
        episode = _Episode(
            id=answer["episode_id"],
            number=self._num_started,
            training=answer["training"],
            policy=policy,
            policy_state=jax.tree.map(np.asarray, policy.initial_state()),
            version=answer["version"],
        )
        self._episodes[episode.id] = episode
        self._num_started += 1
        self._newest = episode.version
        return episode.id

    def get_action(self, episode_id: str, observation: Any) -> Any:
        """Returns the policy's action, NumPy arrays of the agent's action spec.

        Args:
          episode_id: Id of the episode.
          observation: Observation to act on, which must meet the server's spec.

        Raises:
          MessageError: if the observation does not meet the spec.
          ValueError: if the server's parameters are not those of the agent.
        """
        episode = self._episodes[episode_id]
        observation = self._parse(observation, self._observation_spec, "observation")
        self._make_room(episode)
        self._refresh()
        if episode.version != self._version:  # a batch of actions is of one version
            self._report(episode)
            episode.version = self._version
        seen = self._preprocess(observation)
        time_step = (
            transition(seen, reward=np.float32(episode.reward))
            if episode.num_steps
            else restart(seen)
        )
        key = jax.random.fold_in(self._key, episode.number)
        row = np.int32(episode.num_steps)
        step = jax.device_get(
            act(episode.policy, self._params, time_step, episode.policy_state, key, row)
        )
        episode.policy_state = step.state
        self._log(episode, observation, step.action)
        if episode.training and jax.tree.leaves(step.info):
            episode.actions[-1]["policy_info"] = to_json(step.info)
        return step.action

    def log_action(self, episode_id: str, observation: Any, action: Any) -> None:
        """Reports an action that the policy did not choose; see `PolicyClient`.

        Raises:
          MessageError: if the observation or the action does not meet its spec.
          ValueError: if the policy has a memory, which could not follow the action.
        """
        episode = self._episodes[episode_id]
        if jax.tree.leaves(episode.policy_state):
            raise ValueError(
                "log_action: local inference cannot follow it with a policy that has a memory; use "
                "PolicyClient"
            )
        observation = self._parse(observation, self._observation_spec, "observation")
        action = self._parse(action, self._agent.specs.action, "action")
        self._make_room(episode)
        self._log(episode, observation, action)

    def log_returns(self, episode_id: str, reward: float, info: Any = None) -> None:
        """Adds to the reward of the last action; `info` is not sent.

        Raises:
          MessageError: if the reward is not finite in float32.
        """
        episode = self._episodes[episode_id]
        if episode.actions:
            episode.reward += parse_number(float(reward), "reward", math.inf)
            episode.actions[-1]["reward"] = episode.reward

    def end_episode(self, episode_id: str, observation: Any, truncated: bool = False) -> None:
        """Ends an episode, after a report of its last actions; see `PolicyClient`."""
        self._report(self._episodes.pop(episode_id))
        super().end_episode(episode_id, observation, truncated)

    def _make_room(self, episode: _Episode) -> None:
        if len(episode.actions) >= self._log_every:
            self._report(episode)

    def _report(self, episode: _Episode) -> None:
        """Reports the actions since the last report."""
        if episode.actions:
            body = {"actions": episode.actions, "version": episode.version}
            answer = self.request("POST", f"/episodes/{episode.id}/log_actions", body)
            self._newest = answer["version"]
            episode.actions = []

    def _log(self, episode: _Episode, observation: Tree, action: Tree) -> None:
        episode.actions.append(
            {"observation": to_json(observation), "action": to_json(action), "reward": 0.0}
        )
        episode.reward = 0.0
        episode.num_steps += 1

    def _parse(self, value: Any, spec: Tree, name: str) -> Tree:
        # How great a number may be is for the server to say.
        return parse(to_json(value), spec, name, bounded=False, limit=math.inf)

    def _refresh(self) -> None:
        now = time.monotonic()
        if self._newest <= self._version and now - self._asked < self._interval:
            return
        version, arrays = self.get_parameters(self._version)
        self._asked = now
        if arrays is not None:
            self._params = fill(self._template, arrays)
            self._version = version
        self._newest = version
