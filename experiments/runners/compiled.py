"""The runner of loops on device: one compiled function of a state."""

import dataclasses
import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax

from ...agents.agent import Agent, TrainState
from ...envs.environment import JaxEnvironment
from ...envs.types import Tree
from ...learners.compiling import optimization_level
from ..configs.base import Config
from ..data.demonstrations import demonstrations
from .protocol import Episodes, Progress, merge


class CompiledRunner:
    """A configuration's loop on device, compiled; it stops and resumes exactly.

    Each run donates the state to the next.

    Args:
      config: Configuration of the run.
      agent: Agent of the configuration.
      env: JAX environment.
      seed: Seed of everything that is drawn.
    """

    replay = None

    def __init__(self, config: Config, agent: Agent, env: JaxEnvironment, seed: int):
        loop = make_loop(config, agent, env)
        self._config = config
        self._env = env
        self._state: Any = jax.jit(loop.init, **optimization_level({}))(jax.random.key(seed))
        # A data set is an argument: as a constant it would be compiled into the program.
        data = {"rows": jax.device_put(loop.rows)} if config.from_data else {}
        run = lambda data, state, num_iterations: dataclasses.replace(loop, **data).run(
            state, num_iterations
        )
        options = optimization_level(self._state.train.params)
        # The number of iterations is traced: one program makes any number of them.
        compiled = jax.jit(run, donate_argnums=1, **options)
        self._run: Any = partial(compiled, data)
        self._done = 0
        self._unreported = self._count()  # the warm-up, made by `init`
        self.chunk = 1 if config.whole_episodes else config.steps_per_report

    @property
    def train_state(self) -> TrainState:
        """The agent's state, a copy; may be set."""
        return jax.tree.map(jax.numpy.copy, self._state.train)  # the next run donates it

    @train_state.setter
    def train_state(self, state: TrainState) -> None:
        copy = jax.tree.map(jax.numpy.copy, state)
        self._state = dataclasses.replace(self._state, train=copy)

    @property
    def num_steps(self) -> int:
        """The number of steps so far, as the configuration counts them."""
        return self._count() - self._unreported

    def advance(self, num_steps: int) -> Progress:
        """Makes at least this many steps, with their updates; the first ones are the warm-up."""
        warm_up = min(num_steps, self._unreported)
        self._unreported -= warm_up
        goal = self._count() + num_steps - warm_up
        parts: list[Progress] = []
        # Boundary rows are no steps, so that an iteration may make fewer than it has rows.
        while (left := goal - self._count()) > 0:
            iterations = math.ceil(left / most_steps(self._config))
            before = int(self._state.train.step)
            self._state, metrics = self._run(self._state, iterations)
            updates = int(self._state.train.step) - before
            parts.append(progress_of(self._config, jax.device_get(metrics), updates))
        return merge(parts)

    def state(self) -> tuple[dict[str, Tree], dict[str, Any]]:
        """Arrays to save, the agent's state apart, and counters for JSON."""
        rest = dataclasses.replace(self._state, train=())
        counters = {"done": self._count(), "unreported": self._unreported}
        return {"agent": self._state.train, "loop": rest}, counters

    def set_state(self, state: Mapping[str, Tree], counters: Mapping[str, Any], seed: int) -> None:
        """Goes on from what `state` gave."""
        self._state = dataclasses.replace(state["loop"], train=state["agent"])
        self._done = counters["done"]
        self._unreported = counters["unreported"]

    def _count(self) -> int:
        """The number of steps so far, the warm-up included."""
        self._done = int(go_on_counting(self._done, self._config.steps_done(self._state)))
        return self._done

    def close(self) -> None:
        """Frees the state, the data and the environment."""
        self._state = None
        self._run = None
        if hasattr(self._env, "close"):
            self._env.close()


def make_loop(config: Config, agent: Agent, env: JaxEnvironment) -> Any:
    """The loop on device of a configuration, with its data set, if it learns from one.

    Raises:
      ValueError: if settings do not fit together, or a data set does not suit.
    """
    if config.from_data:
        bc: Any = config
        return bc.loop(agent, env, demonstrations(bc.dataset, env, bc.dataset_rows))
    return config.loop(agent, env)


def go_on_counting(before: Any, count: Any) -> Any:
    """Returns a count, or an array of them, that goes on where one of int32 wraps around.

    Args:
      before: Count when it was last asked for, which is less than 2^32 ago.
      count: Count modulo 2^32, of either sign.
    """
    return before + (count - before) % 2**32


def most_steps(config: Config) -> int:
    """The number of steps of an iteration on device that has no boundary row, at most."""
    return max(config.steps_per_iteration, config.num_envs)


def progress_of(config: Config, metrics: Mapping[str, Any], num_updates: int) -> Progress:
    """The progress that the metrics `[1]` of a loop's `run` tell of."""
    means = {name: float(value[0]) for name, value in metrics.items()}
    means.pop("steps")
    count = round(means.pop("episodes", 0))
    one = Episodes(
        mean=means.pop("episode_return", math.nan),
        length=means.pop("episode_length", None),
        number=count,
        highest=means.pop("episode_return_max", None),
        lowest=means.pop("episode_return_min", None),
    )
    return Progress(num_updates, means if num_updates else {}, [one] if count else [])
