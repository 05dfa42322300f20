"""An actor of the runner "ray", as the functions that are called there see it."""

from collections.abc import Callable
from typing import Any

import jax

from ...agents.agent import Agent, TrainState
from ...drivers import Collector
from ...envs.types import Tree
from ..trained.policy import TrainedPolicy


class Worker(TrainedPolicy):
    """An actor as `Trainer.foreach_worker` shows it: its policy, and its own `env` and counts.

    Weights that are set here act until parameters are next published.

    Args:
      collector: The collector that makes its rows.
      make_agent: Function that makes the agent of an environment's specs.
      seed: Seed of the run.
    """

    def __init__(self, collector: Collector, make_agent: Callable[[Any], Agent], seed: int):
        super().__init__(make_agent(collector.env.specs), collector.env, seed)
        self.env = collector.env
        self._collector = collector

    @property
    def num_steps(self) -> int:
        """The number of environment steps of this actor."""
        return self._collector.num_steps

    @property
    def policy_params(self) -> Tree:
        """The parameters that it acts with."""
        return self._collector.params

    @property
    def train_state(self) -> TrainState:
        """The part of the agent's state that is here: parameters of the roles that act.

        There is no optimizer here.
        """
        params = self.policy_params
        return TrainState(params["params"], {}, (), params["step"], jax.random.key(self.seed))

    @train_state.setter
    def train_state(self, state: TrainState) -> None:
        self._collector.params = {**self.policy_params, "params": state.params}


def worker_of(collector: Collector, make_agent: Callable[[Any], Agent], seed: int) -> Worker:
    """The one `Worker` of an actor, which keeps what it has compiled."""
    if "worker" not in collector.cache:
        collector.cache["worker"] = Worker(collector, make_agent, seed)
    return collector.cache["worker"]
