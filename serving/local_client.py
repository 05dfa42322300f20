"""A policy client that acts itself, with the server's parameters, and reports in batches."""

import dataclasses
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from ..agents.agent import Agent
from ..envs.preprocessing import Preprocessor
from ..envs.specs import leaf_name
from ..envs.time_step import restart, transition
from ..envs.types import Tree
from ..policies.policy import Policy, act
from . import wire

if TYPE_CHECKING:
    from .client import PolicyClient


@dataclasses.dataclass(eq=False)
class _Episode:
    number: int
    training: bool
    policy_state: Tree
    version: int
    reward: float = 0.0
    num_steps: int = 0
    actions: list[dict[str, Any]] = dataclasses.field(default_factory=list)


class LocalInference:
    """What `PolicyClient(inference="local")` does; its arguments are the client's."""

    def __init__(
        self,
        client: "PolicyClient",
        agent: Agent,
        log_every: int,
        update_interval: float,
        seed: int,
        preprocessor: Preprocessor | None,
    ):
        if log_every < 1 or not update_interval > 0:
            raise ValueError(
                f"expected log_every >= 1 and update_interval > 0, got {log_every=}, "
                f"{update_interval=}"
            )
        self._client, self._agent = client, agent
        self._preprocess: Callable[[Tree], Tree] = (
            (lambda tree: tree) if preprocessor is None else preprocessor.from_raw
        )
        self._observation_spec: Tree = (
            agent.specs.observation if preprocessor is None else preprocessor.raw_spec
        )
        self._log_every, self._interval, self._key = (
            log_every,
            update_interval,
            jax.random.key(seed),
        )
        self._template = jax.eval_shape(
            lambda key: agent.policy_params(agent.init(key)), jax.random.key(0)
        )
        self._episodes: dict[str, _Episode] = {}
        self._num_started, self._version, self._newest, self._asked = 0, -1, 0, 0.0
        self._params: Tree = None

    def start_episode(self, training_enabled: bool | None) -> str:
        answer = self._client.request("POST", "/episodes", {"training_enabled": training_enabled})
        policy = self._policy(answer["training"])
        state = jax.tree.map(np.asarray, policy.initial_state())
        self._episodes[answer["episode_id"]] = _Episode(
            self._num_started, answer["training"], state, answer["version"]
        )
        self._num_started += 1
        self._newest = answer["version"]
        return answer["episode_id"]

    def get_action(self, episode_id: str, observation: Any) -> Any:
        episode = self._episodes[episode_id]
        observation = self._checked(observation, self._observation_spec, "observation")
        if len(episode.actions) >= self._log_every:
            self.flush(episode_id)
        self._refresh()
        if episode.version != self._version:  # a batch of actions is of one version
            self.flush(episode_id)
            episode.version = self._version
        seen = self._preprocess(observation)
        time_step = (
            restart(seen) if not episode.num_steps else transition(np.float32(episode.reward), seen)
        )
        key = jax.random.fold_in(self._key, episode.number)
        row = np.int32(episode.num_steps)
        step = act(
            self._policy(episode.training), self._params, time_step, episode.policy_state, key, row
        )
        step = jax.device_get(step)
        episode.policy_state = step.state
        info = wire.to_json(step.info) if episode.training and jax.tree.leaves(step.info) else None
        self._log(episode, observation, step.action, info)
        return step.action

    def log_action(self, episode_id: str, observation: Any, action: Any) -> None:
        episode = self._episodes[episode_id]
        if jax.tree.leaves(episode.policy_state):
            raise ValueError(
                "log_action: local inference cannot follow it with a policy that has a memory; "
                "act remotely"
            )
        if len(episode.actions) >= self._log_every:
            self.flush(episode_id)
        observation = self._checked(observation, self._observation_spec, "observation")
        self._log(
            episode, observation, self._checked(action, self._agent.specs.action, "action"), None
        )

    def log_returns(self, episode_id: str, reward: float) -> None:
        episode = self._episodes[episode_id]
        if episode.actions:
            episode.reward += wire.number(reward, "reward")
            episode.actions[-1]["reward"] = episode.reward

    def flush(self, episode_id: str, ended: bool = False) -> None:
        """Reports what has been done since the last time."""
        episode = self._episodes.pop(episode_id) if ended else self._episodes[episode_id]
        if episode.actions:
            body = {"actions": episode.actions, "version": episode.version}
            self._newest = self._client.request(
                "POST", f"/episodes/{episode_id}/log_actions", body
            )["version"]
            episode.actions = []

    def _policy(self, training: bool) -> Policy:
        return self._agent.collect_policy if training else self._agent.policy

    def _log(self, episode: _Episode, observation: Tree, action: Tree, info: Any) -> None:
        logged = {
            "observation": wire.to_json(observation),
            "action": wire.to_json(action),
            "reward": 0.0,
        }
        episode.actions.append(logged if info is None else logged | {"policy_info": info})
        episode.reward = 0.0
        episode.num_steps += 1

    def _checked(self, value: Any, spec: Tree, name: str) -> Tree:
        from .client import to_json

        return wire.from_json(to_json(value), spec, name, bounded=False)

    def _refresh(self) -> None:
        now = time.monotonic()
        if self._newest <= self._version and now - self._asked < self._interval:
            return
        version, arrays = self._client.get_parameters(self._version)
        self._asked = now
        if arrays is not None:
            self._params, self._version = fill(self._template, arrays), version
        self._newest = version


def fill(template: Tree, arrays: dict[str, np.ndarray]) -> Tree:
    """The arrays by name in the template's structure.

    Raises:
      ValueError: they are not those of the client's agent.
    """
    leaves, treedef = jax.tree_util.tree_flatten_with_path(template)
    keys = {leaf_name(path) for path, leaf in leaves if wire.is_key(leaf)}
    shapes = [
        jax.eval_shape(jax.random.key_data, leaf) if wire.is_key(leaf) else leaf
        for _, leaf in leaves
    ]
    wanted = {
        leaf_name(path): (leaf.shape, leaf.dtype)
        for (path, _), leaf in zip(leaves, shapes, strict=True)
    }
    given = {name: (array.shape, array.dtype) for name, array in arrays.items()}
    if wanted != given:
        differ = sorted(name for name in wanted | given if wanted.get(name) != given.get(name))
        first = differ[0]
        raise ValueError(
            f"the server's parameters are not those of this client's agent: {first} is "
            f"{given.get(first, 'missing')} there, "
            f"{wanted.get(first, 'missing')} here ({len(differ)} differ); build the agent as the "
            "server does"
        )
    values = {name: jax.numpy.asarray(arrays[name]) for name in wanted}
    values |= {name: jax.random.wrap_key_data(values[name]) for name in keys}
    return jax.tree.unflatten(treedef, list(values.values()))
