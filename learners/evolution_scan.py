"""Evolution strategies on device: a pure function of a key, as `OnPolicyScan` is, whose population
is one `vmap`.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from ..agents.agent import TrainState
from ..agents.es import EsAgent
from ..drivers.episodes import play_episodes
from ..envs.types import Array
from .off_policy_scan import iterations_per_report


@struct.dataclass
class EvolutionState:
    """Everything that changes in the loop: the agent's state, the episodes' key, and the number of
    generations (int32).
    """

    train: TrainState
    key: Array
    iteration: Array


@dataclasses.dataclass(frozen=True, eq=False)
class EvolutionScan:
    """An evolution strategy and a JAX environment. One iteration is one generation.

    Every member plays `num_episodes` whole episodes, and its fitness is their mean return. All
    members of a generation start from the same states, so that a difference is theirs; the next
    generation starts from others.

    Args:
      agent: an evolution strategy, such as `agents.EsAgent`.
      env: a JAX environment.
      num_episodes: episodes of each member.
      max_steps: the most steps of an episode; one that lasts longer counts with what it has earned
        by then.

    Raises:
      ValueError: if a number is less than 1.
    """

    agent: EsAgent
    env: Any
    _: dataclasses.KW_ONLY
    num_episodes: int = 1
    max_steps: int = 1_000

    def __post_init__(self):
        for name in ("num_episodes", "max_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"Evolution: expected {name} >= 1, got {getattr(self, name)}")

    @property
    def num_envs(self) -> int:
        """Episodes of a generation, all played at once."""
        return self.agent.population_size * self.num_episodes

    @property
    def rows_per_iteration(self) -> int:
        """The most steps of a generation in each environment; `max_steps` by the name that
        `OffPolicyScan` has for it.
        """
        return self.max_steps

    def init(self, key: Array) -> EvolutionState:
        """A fresh agent."""
        train_key, key = jax.random.split(key)
        return EvolutionState(self.agent.init(train_key), key, jnp.zeros((), jnp.int32))

    def run(
        self, state: EvolutionState, num_iterations: int, num_reports: int = 1
    ) -> tuple[EvolutionState, dict[str, Array]]:
        """Runs generations; N and then M of them are exactly N + M.

        Args:
          state: from `init` or an earlier run; donate it when jitting.
          num_iterations: generations to run, a multiple of `num_reports`.
          num_reports: into how many equal parts to divide them; metrics are means over each.

        Returns:
          The state, and metrics `[num_reports]`: the agent's, `episodes` and `steps` (how many were
            played, by all members),
          and `episode_return` (the mean over members).

        Raises:
          ValueError: if `num_reports` does not divide `num_iterations`.
        """
        part = iterations_per_report(num_iterations, num_reports)

        def report(state: EvolutionState, _: None) -> tuple[EvolutionState, dict[str, Array]]:
            state, metrics = jax.lax.scan(lambda s, _: self._generation(s), state, length=part)
            counts = {name: metrics.pop(name).sum() for name in ("episodes", "steps")}
            return state, jax.tree.map(lambda x: x.mean(), metrics) | counts

        return jax.lax.scan(report, state, length=num_reports)

    def _generation(self, state: EvolutionState) -> tuple[EvolutionState, dict[str, Array]]:
        key = jax.random.fold_in(state.key, state.iteration)
        statistics = self.agent.normalize_observations

        def fitness_of(params: Any) -> Any:
            policy = self.agent.collect_policy
            played = play_episodes(
                self.env,
                policy,
                params,
                key,
                self.num_episodes,
                self.max_steps,
                statistics=statistics,
            )
            return played.returns.mean(), played.lengths.sum(), played.statistics

        fitness, lengths, seen = jax.vmap(fitness_of)(self.agent.ask(state.train))
        train, info = self.agent.tell(state.train, fitness, seen)
        counts = {"episodes": jnp.int32(self.num_envs), "steps": lengths.sum()}
        metrics = info.metrics | {"episode_return": fitness.mean()} | counts
        return EvolutionState(train, state.key, state.iteration + 1), metrics
