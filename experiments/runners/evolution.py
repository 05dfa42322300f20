"""Evolution strategies on device: whole episodes of a population, a generation at a time."""

from collections.abc import Mapping
from typing import Any

from ...agents.es import EsAgent
from ...envs.environment import JaxEnvironment
from ...envs.types import Tree
from .compiled import CompiledRunner
from .device import device_loop
from .protocol import Progress


class EvolutionRunner(CompiledRunner):
    """Generations on device; stops and resumes exactly. The returns that it tells are means over a
    generation's members.
    """

    chunk = 1  # a generation

    def __init__(self, config: Any, agent: EsAgent, env: JaxEnvironment, seed: int):
        super().__init__(device_loop(config, agent, env), seed)
        self.num_steps = 0

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
