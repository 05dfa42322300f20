"""Evolution strategies as an experiment: the configuration, on a page, and the agent that it
describes.
"""

import dataclasses

import optax

from ...agents.es import EsAgent
from ...envs.specs import EnvironmentSpecs
from ...networks import ActorNetwork, default_encoder
from .base import ACTIVATIONS, Activation
from .checking import check_values


@dataclasses.dataclass(frozen=True)
class EsConfig:
    """What `jax-agents train --run ES` can be told; the defaults are gymnax-blines' for
    CartPole-v1, with shorter evaluations.

    A generation is `population_size` members, each of which plays `num_episodes` whole episodes,
    all at once, on device.
    """

    num_steps: int = 3_000_000  # environment steps to train for, unless a stop is given
    hidden: tuple[int, ...] = (64, 64)
    activation: Activation = "relu"
    learning_rate: float = 0.04
    learning_rate_decay: float = 0.999  # a factor for each generation
    sigma: float = 0.03  # standard deviation of the perturbations
    sigma_decay: float = 0.999
    sigma_end: float = 0.01
    population_size: int = 100  # even
    num_episodes: int = 1  # of each member
    normalize_observations: bool = False
    max_steps: int = 500  # an episode that lasts longer counts with what it has earned by then
    max_episode_steps: int | None = None  # None: the environment's own limit
    steps_per_report: int = 50_000

    def __post_init__(self):
        check_values(self)

    @property
    def num_envs(self) -> int:
        """Episodes of a generation, all played at once."""
        return self.population_size * self.num_episodes

    @property
    def num_iterations(self) -> int:
        """Generations in a run of `num_steps`, if all episodes are as long as can be."""
        return max(1, self.num_steps // (self.num_envs * self.max_steps))


def es_agent(config: EsConfig, specs: EnvironmentSpecs) -> EsAgent:
    """The agent of a configuration, for an environment's specs."""
    network = ActorNetwork(
        specs.action,
        config.hidden,
        default_encoder(specs.observation),
        ACTIVATIONS[config.activation],
    )
    return EsAgent(
        specs,
        network,
        optax.adam(optax.exponential_decay(config.learning_rate, 1, config.learning_rate_decay)),
        population_size=config.population_size,
        sigma=optax.exponential_decay(
            config.sigma, 1, config.sigma_decay, end_value=config.sigma_end
        ),
        normalize_observations=config.normalize_observations,
    )
