"""The whole loop on device, for environments written in JAX."""

import math
from collections.abc import Mapping
from typing import Any

from ...agents.agent import Agent
from ...envs.environment import JaxEnvironment
from ...envs.types import Tree
from ...learners.evolution_scan import EvolutionScan
from ...learners.off_policy_scan import OffPolicyScan
from ...learners.offline_scan import OfflineScan
from ...learners.on_policy_scan import OnPolicyScan
from ..configs.base import OnPolicyConfig
from ..configs.cloning import BcConfig
from ..configs.evolution import EsConfig
from .cloning import offline_loop
from .compiled import CompiledRunner
from .protocol import Episodes, Progress


class DeviceRunner(CompiledRunner):
    """The whole loop on device; stops and resumes exactly. Boundary rows, one an episode, count as
    steps here.
    """

    def __init__(self, config: Any, agent: Agent, env: JaxEnvironment, seed: int):
        super().__init__(device_loop(config, agent, env), seed)
        self.chunk, self._config = config.steps_per_report, config
        self._unreported = self._rows  # the warm-up, made by `init`

    @property
    def num_steps(self) -> int:
        return self._rows - self._unreported

    @property
    def _rows(self) -> int:
        return int(self._state.rollout.row) * self._config.num_envs

    def advance(self, num_steps: int) -> Progress:
        warm_up = min(num_steps, self._unreported)
        self._unreported -= warm_up
        num_steps -= warm_up
        if num_steps == 0:
            return Progress(0, {}, [])
        iterations = math.ceil(num_steps / self._config.steps_per_iteration)
        self._state, metrics = self._run(self._state, iterations)
        return progress_of(metrics, iterations * self._config.updates_per_iteration)

    def state(self) -> tuple[Tree, dict[str, Any]]:
        return self._state, {"unreported": self._unreported}

    def set_state(self, state: Tree, counters: Mapping[str, Any], seed: int) -> None:
        self._state, self._unreported = state, counters["unreported"]


def progress_of(metrics: Mapping[str, Any], num_updates: int) -> Progress:
    """The progress that the metrics `[1]` of a loop's `run` tell of."""
    means = {name: float(value[0]) for name, value in metrics.items()}
    means.pop("steps")
    count, mean = round(means.pop("episodes")), means.pop("episode_return")
    episodes: list[Episodes] = [(mean, None, count)] if count else []
    return Progress(num_updates, means, episodes)


def device_loop(
    config: Any, agent: Any, env: JaxEnvironment
) -> OffPolicyScan | OnPolicyScan | EvolutionScan | OfflineScan:
    """The whole training loop of a configuration, for a JAX environment: what the device runner and
    the gates train.

    Raises:
      ValueError: if steps cannot be divided evenly among the environments, or a data set does not
        suit.
    """
    if isinstance(config, BcConfig):
        return offline_loop(config, agent, env)
    if isinstance(config, OnPolicyConfig):
        return OnPolicyScan(
            agent,
            env,
            num_envs=config.num_envs,
            num_rows=config.num_rows,
            num_epochs=config.num_epochs,
            num_minibatches=config.num_minibatches,
            policy_lag=config.policy_lag,
        )
    if isinstance(config, EsConfig):
        return EvolutionScan(
            agent, env, num_episodes=config.num_episodes, max_steps=config.max_steps
        )
    if config.steps_per_iteration % config.num_envs:
        raise ValueError(
            "config steps_per_iteration: on device, expected a multiple of "
            f"num_envs={config.num_envs}, "
            f"got {config.steps_per_iteration}"
        )
    return OffPolicyScan(
        agent,
        env,
        num_envs=config.num_envs,
        rows_per_iteration=config.steps_per_iteration // config.num_envs,
        updates_per_iteration=config.updates_per_iteration,
        batch_size=config.batch_size,
        capacity=config.replay_capacity,
        warmup_rows=math.ceil(config.warmup_steps / config.num_envs),
        # A random policy would not give what some agents store of their own.
        warmup_policy=agent.collect_policy if agent.collect_data_spec.policy_info else None,
        priority_exponent=config.priority_exponent,
        importance_exponent=config.importance_exponent,
    )
