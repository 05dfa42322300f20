"""Evolution strategies on device: whole episodes of a population, a generation at a time."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax

from ...agents.agent import TrainState
from ...agents.es import EsAgent
from ...envs.environment import JaxEnvironment
from ...envs.types import Tree
from .device import device_loop
from .runner import Progress


class EvolutionRunner:
    """Generations on device; stops and resumes exactly. The returns that it tells are means over a generation's members."""

    chunk = 1  # a generation
    replay = None

    def __init__(self, config: Any, agent: EsAgent, env: JaxEnvironment, seed: int):
        loop = device_loop(config, agent, env)
        self._run = jax.jit(loop.run, static_argnums=1, donate_argnums=0)
        self._state: Any = jax.jit(loop.init)(jax.random.key(seed))
        self.num_steps = 0

    @property
    def train_state(self) -> TrainState:
        return jax.tree.map(jax.numpy.copy, self._state.train)  # the next run donates it

    @train_state.setter
    def train_state(self, state: TrainState) -> None:
        self._state = dataclasses.replace(self._state, train=jax.tree.map(jax.numpy.copy, state))

    def advance(self, num_steps: int) -> Progress:
        self._state, metrics = self._run(self._state, 1)
        means = {name: float(value[0]) for name, value in metrics.items()}
        steps, count, mean = (means.pop(name) for name in ("steps", "episodes", "episode_return"))
        self.num_steps += round(steps)
        return Progress(1, means, [(mean, steps / count, round(count))])

    def state(self) -> tuple[Tree, dict[str, Any]]:
        return self._state, {"num_steps": self.num_steps}

    def set_state(self, state: Tree, counters: Mapping[str, Any], seed: int) -> None:
        self._state, self.num_steps = state, counters["num_steps"]

    def close(self) -> None:
        self._state = None
