"""Training on a data set, on device; the environment is there to say what rows look like."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax

from ...agents.agent import Agent, TrainState
from ...envs.types import Tree
from ...learners.offline import Offline
from ..demonstrations import demonstrations
from ..offline import BcConfig
from .runner import Progress


class OfflineRunner:
    """Updates on batches of a data set; stops and resumes exactly. A step is a row that was trained on."""

    replay = None

    def __init__(self, config: BcConfig, agent: Agent, env: Any, seed: int):
        self.chunk = config.steps_per_report
        self._batch_size, self._env = config.batch_size, env
        loop = offline_loop(config, agent, env)
        self._rows = jax.device_put(loop.rows)  # an argument: constants would be compiled in
        run = lambda rows, state, num_iterations: dataclasses.replace(loop, rows=rows).run(state, num_iterations)
        self._run = jax.jit(run, static_argnums=2, donate_argnums=1)
        self._state: Any = jax.jit(loop.init)(jax.random.key(seed))

    @property
    def num_steps(self) -> int:
        return int(self._state.iteration) * self._batch_size

    @property
    def train_state(self) -> TrainState:
        return jax.tree.map(jax.numpy.copy, self._state.train)  # the next run donates it

    @train_state.setter
    def train_state(self, state: TrainState) -> None:
        self._state = dataclasses.replace(self._state, train=jax.tree.map(jax.numpy.copy, state))

    def advance(self, num_steps: int) -> Progress:
        iterations = -(-num_steps // self._batch_size)
        self._state, metrics = self._run(self._rows, self._state, iterations)
        return Progress(iterations, {name: float(value[0]) for name, value in metrics.items()}, [])

    def state(self) -> tuple[Tree, dict[str, Any]]:
        return self.train_state, {"iteration": int(self._state.iteration)}

    def set_state(self, state: Tree, counters: Mapping[str, Any], seed: int) -> None:
        self.train_state = state
        self._state = dataclasses.replace(self._state, iteration=jax.numpy.int32(counters["iteration"]))

    def close(self) -> None:
        self._state = self._rows = None
        if hasattr(self._env, "close"):
            self._env.close()


def offline_loop(config: BcConfig, agent: Agent, env: Any) -> Offline:
    """The loop of a configuration, with its data set."""
    return Offline(agent, env, demonstrations(config.dataset, env, config.dataset_rows), batch_size=config.batch_size)
