"""The configuration of behavioural cloning."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import optax

from ...agents.bc import BehavioralCloningAgent
from ...envs.environment import JaxEnvironment
from ...envs.specs import EnvironmentSpecs
from ...envs.types import Trajectory
from ...learners import OfflineScan
from ...networks import ActorNetwork, default_encoder
from .base import ACTIVATIONS, Activation, Config, linear
from .checking import Count, NotNegative, Positive, Sizes

CONTROLLER = "controller"


@dataclasses.dataclass(frozen=True, kw_only=True)
class BcConfig(Config):
    """Settings of behavioural cloning; `data.demonstrations` lists the kinds of data sets.

    Steps are rows of the data set that were trained on: no environment is stepped.
    """

    algorithm: str = "BC"
    dataset: str = ""  # an expert's run folder or checkpoint, a .npz file, or "controller"
    dataset_rows: Count = 20_000  # that an expert makes; those of a file are all read
    num_steps: Count = 384_000  # rows to train on, unless a stop is given
    hidden: Sizes = (64, 64)
    activation: Activation = "tanh"
    learning_rate: Positive = 1e-3
    learning_rate_end: NotNegative | None = None  # reached linearly, at num_steps; None: constant
    batch_size: Count = 256
    steps_per_report: Count = 25_600

    runners: ClassVar[Sequence[str]] = ("loop", "device")
    why_these_runners: ClassVar[str] = (
        "BC learns from a data set and steps no environment; use runner 'loop' or 'device'"
    )
    from_data: ClassVar[bool] = True
    num_envs: ClassVar[int] = 1
    updates_per_iteration: ClassVar[int] = 1
    can_be_vmapped: ClassVar[bool] = False

    @property
    def learns_from(self) -> str | None:
        """The data set."""
        return self.dataset

    @property
    def steps_per_iteration(self) -> int:
        """The number of rows of a batch."""
        return self.batch_size

    @property
    def num_iterations(self) -> int:
        """The number of updates in a run of `num_steps`."""
        return max(1, self.num_steps // self.batch_size)

    def agent(self, specs: EnvironmentSpecs) -> BehavioralCloningAgent:
        """The agent, for an environment's specs; see `Config.agent`."""
        encoder = default_encoder(specs.observation)
        network = ActorNetwork(specs.action, self.hidden, encoder, ACTIVATIONS[self.activation])
        rate = linear(self.learning_rate, self.learning_rate_end, self.num_iterations)
        return BehavioralCloningAgent(specs, network, optax.adam(rate))

    def loop(
        self, agent: BehavioralCloningAgent, env: JaxEnvironment, rows: Trajectory | None = None
    ) -> OfflineScan:
        """The loop on device, for the rows of the data set (`data.demonstrations` reads them).

        Raises:
          ValueError: without rows.
        """
        if rows is None:
            raise ValueError(
                "BcConfig.loop: expected rows; pass data.demonstrations(config.dataset, env, "
                "config.dataset_rows)"
            )
        return OfflineScan(agent, env, rows, batch_size=self.batch_size)

    def check_source(self) -> None:
        """Raises a ValueError unless the data set is "controller" or a path that exists."""
        check_name(self.dataset)

    def steps_done(self, state: Any) -> int:
        """The number of rows that were trained on, from the state of the loop."""
        return int(state.iteration) * self.batch_size


def check_name(dataset: str) -> None:
    """Raises a ValueError unless a data set is "controller" or a path that exists."""
    if dataset != CONTROLLER and not (dataset and Path(dataset).exists()):
        raise ValueError(
            "config dataset: expected a .npz file of rows, the run folder or a checkpoint of an "
            f"expert, or 'controller', got {dataset!r}, which is none"
        )
