"""The configuration of evolution strategies."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import optax

from ...agents.es import EsAgent
from ...envs.environment import JaxEnvironment
from ...envs.specs import EnvironmentSpecs
from ...learners import EvolutionScan
from ...networks import ActorNetwork, default_encoder
from .base import ACTIVATIONS, Activation, Config
from .checking import Count, NotNegative, Positive, Sizes


@dataclasses.dataclass(frozen=True, kw_only=True)
class EsConfig(Config):
    """Settings of ES; the defaults are gymnax-blines' for CartPole-v1, with shorter evaluations.

    A generation is `population_size` members, each of which plays `num_episodes` whole episodes,
    all at once, on device.
    """

    algorithm: str = "ES"
    num_steps: Count = 3_000_000
    hidden: Sizes = (64, 64)
    activation: Activation = "relu"
    learning_rate: Positive = 0.04
    learning_rate_decay: NotNegative = 0.999  # a factor for each generation
    sigma: Positive = 0.03  # standard deviation of the perturbations
    sigma_decay: NotNegative = 0.999
    sigma_end: NotNegative = 0.01
    population_size: Count = 100  # even
    num_episodes: Count = 1  # of each member
    normalize_observations: bool = False
    max_steps: Count = 500  # a longer episode counts with what it has earned by then
    steps_per_report: Count = 50_000

    runners: ClassVar[Sequence[str]] = ("device",)
    why_these_runners: ClassVar[str] = (
        "ES plays whole populations at once, on device; use runner 'device'"
    )
    whole_episodes: ClassVar[bool] = True
    updates_per_iteration: ClassVar[int] = 1
    can_be_vmapped: ClassVar[bool] = False

    @property
    def num_envs(self) -> int:
        """The number of episodes of a generation, all played at once."""
        return self.population_size * self.num_episodes

    @property
    def steps_per_iteration(self) -> int:
        """The greatest number of steps of a generation."""
        return self.num_envs * self.max_steps

    @property
    def num_iterations(self) -> int:
        """The number of generations in `num_steps`, if all episodes are as long as can be."""
        return max(1, self.num_steps // self.steps_per_iteration)

    def agent(self, specs: EnvironmentSpecs) -> EsAgent:
        """The agent, for an environment's specs; see `Config.agent`."""
        encoder = default_encoder(specs.observation)
        network = ActorNetwork(specs.action, self.hidden, encoder, ACTIVATIONS[self.activation])
        rate = optax.exponential_decay(self.learning_rate, 1, self.learning_rate_decay)
        return EsAgent(
            specs,
            network,
            optax.adam(rate),
            population_size=self.population_size,
            sigma=optax.exponential_decay(
                self.sigma, 1, self.sigma_decay, end_value=self.sigma_end
            ),
            normalize_observations=self.normalize_observations,
        )

    def loop(self, agent: EsAgent, env: JaxEnvironment) -> EvolutionScan:
        """The loop on device, of generations."""
        return EvolutionScan(agent, env, num_episodes=self.num_episodes, max_steps=self.max_steps)
