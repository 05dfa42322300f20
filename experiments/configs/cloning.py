"""Behavioural cloning as an experiment: the configuration, on a page, and the agent that it
describes.
"""

import dataclasses

import optax

from ...agents.bc import BehavioralCloningAgent
from ...envs.specs import EnvironmentSpecs
from ...networks import ActorNetwork, default_encoder
from ..data.demonstrations import check_name
from .base import ACTIVATIONS, Activation, linear
from .checking import check_values


@dataclasses.dataclass(frozen=True)
class BcConfig:
    """What `jax-agents train --run BC` can be told; `demonstrations.demonstrations` says what a
    data set may be.

    Steps are rows of the data set that were trained on: nothing is sampled from an environment.
    """

    dataset: str = ""  # an expert's run folder or checkpoint, a .npz file of rows, or "controller"
    dataset_rows: int = 20_000  # that an expert makes; those of a file are all read
    num_steps: int = 384_000  # rows to train on, unless a stop is given
    hidden: tuple[int, ...] = (64, 64)
    activation: Activation = "tanh"
    learning_rate: float = 1e-3
    learning_rate_end: float | None = None  # reached linearly, at num_steps; None: constant
    batch_size: int = 256
    max_episode_steps: int | None = None  # None: the environment's own limit
    steps_per_report: int = 25_600

    def __post_init__(self):
        check_values(self)

    @property
    def num_envs(self) -> int:
        """None are stepped in training."""
        return 1

    @property
    def num_iterations(self) -> int:
        """Updates in a run of `num_steps`."""
        return max(1, self.num_steps // self.batch_size)


def bc_agent(config: BcConfig, specs: EnvironmentSpecs) -> BehavioralCloningAgent:
    """The agent of a configuration, for an environment's specs.

    Raises:
      ValueError: there is no such data set.
    """
    check_name(config.dataset)
    network = ActorNetwork(
        specs.action,
        config.hidden,
        default_encoder(specs.observation),
        ACTIVATIONS[config.activation],
    )
    rate = linear(config.learning_rate, config.learning_rate_end, config.num_iterations)
    return BehavioralCloningAgent(specs, network, optax.adam(rate))
