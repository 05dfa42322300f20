"""The Python loop over a host environment, with replay or from fresh rows."""

import math
from collections.abc import Mapping
from typing import Any

import jax

from ...agents.agent import TrainState
from ...envs.environment import Environment
from ...envs.types import Tree
from ...metrics import EpisodeLog
from ...replay.replay import ReplayBuffer
from .protocol import Episodes, Progress

# of a loop that learns from fresh rows, and of one that learns from replay
_COUNTER = ("num_iterations", "steps_ahead")


class LoopRunner:
    """The Python loop: off-policy with a buffer (Reverb or in-process), on-policy without one.

    Resuming starts a new episode: a gymnasium environment cannot be saved.
    """

    chunk = 100

    def __init__(
        self, config: Any, agent: Any, env: Environment, buffer: ReplayBuffer | None, seed: int
    ):
        self._config = config
        self._env = env
        self.replay = buffer
        self._episodes = EpisodeLog(max_episodes=10_000)
        self._loop = config.host_loop(
            agent,
            env,
            buffer,
            key=jax.random.key(seed),
            seed=seed,
            observers=(self._episodes,),
        )
        self._warmup_steps = 0 if buffer is None else config.warmup_steps

    @property
    def num_steps(self) -> int:
        """The number of environment steps so far."""
        return self._loop.driver.num_steps

    @property
    def train_state(self) -> TrainState:
        """The agent's state; may be set."""
        return self._loop.state

    @train_state.setter
    def train_state(self, state: TrainState) -> None:
        self._loop.state = state

    def advance(self, num_steps: int) -> Progress:
        """Makes about this many steps, with their updates; the first ones are the warm-up."""
        warm_up = min(num_steps, self._warmup_steps - self.num_steps)
        updates = 0
        metrics: dict[str, float] = {}
        if warm_up > 0:
            self._loop.warm_up(warm_up)
            num_steps -= warm_up
        if num_steps > 0:
            ahead = 0 if self.replay is None else self._loop.steps_ahead  # they wait for updates
            iterations = math.ceil((num_steps + ahead) / self._config.steps_per_iteration)
            metrics = self._loop.run(iterations)
            updates = iterations * self._config.updates_per_iteration
        returns, lengths = self._episodes.take()
        episodes = [Episodes(float(r), float(n), 1) for r, n in zip(returns, lengths, strict=True)]
        return Progress(updates, metrics, episodes)

    def state(self) -> tuple[dict[str, Tree], dict[str, Any]]:
        """Arrays to save, and counters for JSON."""
        driver = self._loop.driver
        counters = {
            "num_rows": driver.num_rows,
            "num_steps": driver.num_steps,
            "num_episodes": driver.num_episodes,
        }
        name = _COUNTER[self.replay is not None]
        counters[name] = getattr(self._loop, name)
        return {"agent": self._loop.state}, counters

    def set_state(self, state: Mapping[str, Tree], counters: Mapping[str, Any], seed: int) -> None:
        """Goes on from what `state` gave, in new episodes."""
        driver = self._loop.driver
        self._loop.state = state["agent"]
        for name, value in counters.items():
            setattr(self._loop if name in _COUNTER else driver, name, value)
        driver.time_step = self._env.reset(seed)
        shape = () if self._env.num_envs is None else (self._env.num_envs,)
        driver.policy_state = driver.policy.initial_state(shape)
        self._episodes.reset()

    def close(self) -> None:
        """Closes the buffer and the environment."""
        if self.replay is not None:
            self.replay.close()
        self._env.close()
