"""The loop of evolution strategies on device, whose population is one `vmap`."""

import dataclasses

import jax
import jax.numpy as jnp

from ..agents.es import EsAgent
from ..drivers.episodes import Episodes, play_episodes
from ..envs.checks import check_specs
from ..envs.environment import JaxEnvironment, check_jax_environment
from ..envs.types import Array, Tree
from .scan import Scan, ScanState


@dataclasses.dataclass(frozen=True, eq=False)
class EvolutionScan(Scan[ScanState]):
    """An evolution strategy and a JAX environment. One iteration is one generation.

    Every member plays `num_episodes` whole episodes, and its fitness is their mean return. All
    members of a generation start from the same states, so that a difference is theirs; the next
    generation starts from others.

    Args:
      agent: Evolution strategy, such as `agents.EsAgent`.
      env: JAX environment.
      num_episodes: Number of episodes of each member.
      max_steps: Greatest number of steps of an episode; one that lasts longer counts with what it
        has earned by then.

    Raises:
      TypeError: if the agent is no evolution strategy, or the environment is not in JAX.
      ValueError: if a number is less than 1.
      SpecError: if the environment's specs are not in order.
    """

    agent: EsAgent
    env: JaxEnvironment
    _: dataclasses.KW_ONLY
    num_episodes: int = 1
    max_steps: int = 1_000

    def __post_init__(self):
        if not hasattr(self.agent, "tell"):
            raise TypeError(
                "EvolutionScan: expected an evolution strategy, such as agents.EsAgent, got "
                f"{type(self.agent).__name__}"
            )
        check_jax_environment(self.env)
        check_specs(self.env.specs)
        self._check_at_least(1, "num_episodes", "max_steps")

    @property
    def num_envs(self) -> int:
        """The number of episodes of a generation, all played at once."""
        return self.agent.population_size * self.num_episodes

    @property
    def rows_per_iteration(self) -> int:
        """The greatest number of rows of a generation in each environment."""
        return self.max_steps

    def init(self, key: Array) -> ScanState:
        """Returns the state with a fresh agent."""
        train_key, key = jax.random.split(key)
        zero = jnp.zeros((), jnp.int32)
        return ScanState(self.agent.init(train_key), key, iteration=zero, num_steps=zero)

    def iteration(self, state: ScanState) -> tuple[ScanState, dict[str, Array]]:
        """Plays the episodes of one generation, and updates the strategy."""
        key = jax.random.fold_in(state.key, state.iteration)

        def play(params: Tree) -> Episodes:
            return play_episodes(
                self.env,
                self.agent.collect_policy,
                params,
                key,
                self.num_episodes,
                self.max_steps,
                statistics=self.agent.normalize_observations,
            )

        played = jax.vmap(play)(self.agent.ask(state.train))
        fitness = played.returns.mean(axis=1)
        train, info = self.agent.tell(state.train, fitness, played.statistics)
        state = dataclasses.replace(
            state,
            train=train,
            iteration=state.iteration + 1,
            num_steps=state.num_steps + played.lengths.sum(dtype=jnp.int32),
        )
        counts = {
            "episodes": jnp.int32(self.num_envs),
            "episode_return": fitness.sum() * self.num_episodes,
            "episode_length": played.lengths.sum(dtype=jnp.int32),
            "episode_return_max": played.returns.max(),
            "episode_return_min": played.returns.min(),
        }
        return state, info.metrics | counts
