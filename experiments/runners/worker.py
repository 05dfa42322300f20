"""An actor of the runner "ray", as a function that is called there sees it."""

from collections.abc import Callable
from typing import Any

import jax

from ...agents.agent import Agent, TrainState
from ...drivers import Collector
from ...envs.types import Tree
from ..trained.introspection import TrainedPolicy


class Worker:
    """What `Trainer.foreach_worker` shows of an actor: `agent`, `env`, `seed`, `num_steps`, its
    own, and `get_policy()`.

    Weights that are set here act until parameters are next published.
    """

    def __init__(self, collector: Collector, make_agent: Callable[[Any], Agent], seed: int):
        self.env, self.seed = collector.env, seed
        self.agent = make_agent(collector.env.specs)
        self._collector = collector
        self._policy = TrainedPolicy(self, collector.env)

    @property
    def num_steps(self) -> int:
        """Environment steps of this actor."""
        return self._collector.num_steps

    @property
    def policy_params(self) -> Tree:
        """What it acts with."""
        return self._collector.params

    @property
    def train_state(self) -> TrainState:
        """What there is of the agent's state: parameters, of the roles that act. There is no
        optimizer here.
        """
        params = self.policy_params
        return TrainState(params["params"], {}, (), params["step"], jax.random.key(self.seed))

    @train_state.setter
    def train_state(self, state: TrainState) -> None:
        self._collector.params = {**self.policy_params, "params": state.params}

    def get_policy(self) -> TrainedPolicy:
        """Its policy, and the weights of that."""
        return self._policy


def worker_of(collector: Collector, make_agent: Callable[[Any], Agent], seed: int) -> Worker:
    """The one `Worker` of an actor: what it has compiled is kept."""
    if "worker" not in collector.cache:
        collector.cache["worker"] = Worker(collector, make_agent, seed)
    return collector.cache["worker"]
