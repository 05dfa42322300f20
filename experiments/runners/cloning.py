"""Training on a data set, on device; the environment is there to say what rows look like."""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax

from ...agents.agent import Agent
from ...envs.types import Tree
from ...learners.offline_scan import OfflineScan
from ..configs.cloning import BcConfig
from ..data.demonstrations import demonstrations
from .compiled import CompiledRunner
from .protocol import Progress


class OfflineRunner(CompiledRunner):
    """Updates on batches of a data set; stops and resumes exactly. A step is a row that was trained
    on.
    """

    def __init__(self, config: BcConfig, agent: Agent, env: Any, seed: int):
        loop = offline_loop(config, agent, env)
        super().__init__(loop, seed)
        self.chunk, self._batch_size, self._env = config.steps_per_report, config.batch_size, env
        run = lambda rows, state, num_iterations: dataclasses.replace(loop, rows=rows).run(
            state, num_iterations
        )
        compiled = jax.jit(run, static_argnums=2, donate_argnums=1)
        self._run = partial(
            compiled, jax.device_put(loop.rows)
        )  # an argument: constants would be compiled in

    @property
    def num_steps(self) -> int:
        return int(self._state.iteration) * self._batch_size

    def advance(self, num_steps: int) -> Progress:
        iterations = -(-num_steps // self._batch_size)
        self._state, metrics = self._run(self._state, iterations)
        means = {name: float(value[0]) for name, value in metrics.items()}
        means.pop("steps")  # of the environment, which is not stepped
        return Progress(iterations, means, [])

    def state(self) -> tuple[Tree, dict[str, Any]]:
        return self.train_state, {"iteration": int(self._state.iteration)}

    def set_state(self, state: Tree, counters: Mapping[str, Any], seed: int) -> None:
        self.train_state = state
        self._state = dataclasses.replace(
            self._state, iteration=jax.numpy.int32(counters["iteration"])
        )

    def close(self) -> None:
        super().close()
        self._run = None  # which has the rows
        if hasattr(self._env, "close"):
            self._env.close()


def offline_loop(config: BcConfig, agent: Agent, env: Any) -> OfflineScan:
    """The loop of a configuration, with its data set."""
    return OfflineScan(
        agent,
        env,
        demonstrations(config.dataset, env, config.dataset_rows),
        batch_size=config.batch_size,
    )
