"""The two loops behind a trainer: a Python loop over a host environment, and a scan over a JAX one."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax

from .. import replay as replay_lib
from ..agents.agent import Agent, TrainState
from ..envs import classic
from ..envs.environment import Environment, JaxEnvironment
from ..envs.types import Tree
from ..learners.off_policy_loop import OffPolicyLoop
from ..learners.on_device import OnDevice
from ..metrics import AverageReturn, MetricObserver
from ..replay.replay import Replay
from .presets import nearest

# gymnasium's ids of the environments that are there in JAX too
JAX_ENVIRONMENTS: dict[str, Callable[[], JaxEnvironment]] = {
    "Acrobot-v1": classic.Acrobot,
    "CartPole-v1": classic.CartPole,
    "MountainCar-v0": classic.MountainCar,
    "MountainCarContinuous-v0": classic.MountainCarContinuous,
    "Pendulum-v1": classic.Pendulum,
}


Episodes = tuple[float, float | None, int]  # mean return, mean length where it is known, number of episodes


class Progress(NamedTuple):
    """What an `advance` did: its updates, the means of the agent's metrics over them, and the episodes that ended."""

    num_updates: int
    metrics: dict[str, float]
    episodes: list[Episodes]


class Runner(Protocol):
    """What a trainer asks of a loop."""

    chunk: int  # environment steps after which to look up: for progress, and for an interruption

    @property
    def num_steps(self) -> int:
        """Environment steps so far."""

    @property
    def train_state(self) -> TrainState:
        """The agent's state."""

    @property
    def replay(self) -> Replay | None:
        """The buffer to save beside the state; None if it is part of the state."""

    def advance(self, num_steps: int) -> Progress:
        """Makes about so many environment steps, with their updates; the first ones are the warm-up."""

    def state(self) -> tuple[Tree, dict[str, Any]]:
        """What to save: arrays, and counters for JSON."""

    def set_state(self, state: Tree, counters: Mapping[str, Any], seed: int) -> None:
        """Goes on from what `state` gave; `seed` starts the episodes of an environment whose state cannot be saved."""

    def close(self) -> None:
        """Frees the environment and the buffer."""


class LoopRunner:
    """The Python loop, with Reverb or in-process replay.

    Resuming starts a new episode: a gymnasium environment cannot be saved.
    """

    chunk = 100

    def __init__(self, config: Any, agent: Agent, env: Environment, buffer: Replay, seed: int):
        self._config, self._agent, self._env = config, agent, env
        self.replay: Replay | None = buffer
        self._episodes = _EpisodeLog()
        self._loop = OffPolicyLoop(
            agent,
            env,
            buffer,
            batch_size=config.batch_size,
            steps_per_iteration=config.steps_per_iteration,
            updates_per_iteration=config.updates_per_iteration,
            importance_exponent=config.importance_exponent,
            observers=(self._episodes,),
            key=jax.random.key(seed),
            seed=seed,
        )

    @property
    def num_steps(self) -> int:
        return self._loop.driver.num_steps

    @property
    def train_state(self) -> TrainState:
        return self._loop.state

    def advance(self, num_steps: int) -> Progress:
        warm_up = min(num_steps, self._config.warmup_steps - self.num_steps)
        updates, metrics = 0, {}
        if warm_up > 0:
            self._loop.warm_up(warm_up)
            num_steps -= warm_up
        if num_steps > 0:
            iterations = math.ceil(num_steps / self._config.steps_per_iteration)
            metrics = self._loop.run(iterations)
            updates = iterations * self._config.updates_per_iteration
        return Progress(updates, metrics, self._episodes.take())

    def state(self) -> tuple[Tree, dict[str, Any]]:
        driver = self._loop.driver
        names = ("num_rows", "num_steps", "num_episodes")
        return self._loop.state, {name: getattr(driver, name) for name in names}

    def set_state(self, state: Tree, counters: Mapping[str, Any], seed: int) -> None:
        driver = self._loop.driver
        self._loop.state = state
        for name, value in counters.items():
            setattr(driver, name, value)
        driver.time_step = self._env.reset(seed)
        shape = () if self._env.num_envs is None else (self._env.num_envs,)
        driver.policy_state = driver.policy.initial_state(shape)
        self._episodes.reset()

    def close(self) -> None:
        if self.replay is not None:
            self.replay.close()
        self._env.close()


class DeviceRunner:
    """The whole loop on device; stops and resumes exactly. Boundary rows, one an episode, count as steps here."""

    replay = None

    def __init__(self, config: Any, agent: Agent, env: JaxEnvironment, seed: int):
        if config.steps_per_iteration % config.num_envs:
            raise ValueError(
                f"config steps_per_iteration: on device, expected a multiple of num_envs={config.num_envs}, "
                f"got {config.steps_per_iteration}"
            )
        self.chunk = config.steps_per_report
        self._config = config
        self._loop = OnDevice(
            agent,
            env,
            num_envs=config.num_envs,
            rows_per_iteration=config.steps_per_iteration // config.num_envs,
            updates_per_iteration=config.updates_per_iteration,
            batch_size=config.batch_size,
            capacity=config.replay_capacity,
            warmup_rows=math.ceil(config.warmup_steps / config.num_envs),
            priority_exponent=config.priority_exponent,
            importance_exponent=config.importance_exponent,
        )
        self._run = jax.jit(self._loop.run, static_argnums=1, donate_argnums=0)
        self._state = jax.jit(self._loop.init)(jax.random.key(seed))
        self._unreported = self._rows  # the warm-up, made by `init`

    @property
    def num_steps(self) -> int:
        return self._rows - self._unreported

    @property
    def _rows(self) -> int:
        return int(self._state.rollout.row) * self._config.num_envs

    @property
    def train_state(self) -> TrainState:
        return jax.tree.map(jax.numpy.copy, self._state.train)  # the next run donates it

    def advance(self, num_steps: int) -> Progress:
        warm_up = min(num_steps, self._unreported)
        self._unreported -= warm_up
        num_steps -= warm_up
        if num_steps == 0:
            return Progress(0, {}, [])
        iterations = math.ceil(num_steps / self._config.steps_per_iteration)
        self._state, metrics = self._run(self._state, iterations)
        means = {name: float(value[0]) for name, value in metrics.items()}
        count, mean = round(means.pop("episodes")), means.pop("episode_return")
        episodes: list[Episodes] = [(mean, None, count)] if count else []
        return Progress(iterations * self._config.updates_per_iteration, means, episodes)

    def state(self) -> tuple[Tree, dict[str, Any]]:
        return self._state, {"unreported": self._unreported}

    def set_state(self, state: Tree, counters: Mapping[str, Any], seed: int) -> None:
        self._state, self._unreported = state, counters["unreported"]

    def close(self) -> None:
        self._state = None


def jax_environment(env: Any) -> JaxEnvironment:
    """A JAX environment, given itself or gymnasium's id of it.

    Raises:
      ValueError: there is none of that id.
    """
    if not isinstance(env, str):
        if isinstance(env, JaxEnvironment):
            return env
        raise ValueError(f"the device runner needs a JAX environment or the id of one, got {env!r}; use runner='loop'")
    if env not in JAX_ENVIRONMENTS:
        hint = f"{nearest(env, JAX_ENVIRONMENTS)} Or use runner 'loop'"
        raise ValueError(f"the device runner needs an environment written in JAX, and {env!r} is not; {hint}")
    return JAX_ENVIRONMENTS[env]()


def choose_replay(wanted: str) -> tuple[str, str]:
    """ "reverb" or "host", for "auto" or one of these, and a sentence that says why.

    Raises:
      ValueError: another word.
      ImportError: Reverb was asked for and is not installed.
    """
    if wanted not in ("auto", "reverb", "host"):
        raise ValueError(f"replay: expected 'auto', 'reverb' or 'host', got {wanted!r}")
    if wanted == "host":
        return "host", "in process, as asked for"
    if replay_lib.has_reverb():
        return "reverb", "an embedded Reverb server" + (", as asked for" if wanted == "reverb" else "")
    if wanted == "reverb":
        _ = replay_lib.ReverbReplay  # raises, and says what to install
    return "host", (
        "in process, since Reverb is not installed for this Python; it is there for Python 3.11 on Linux x86-64: "
        'pip install "jax-agents[reverb]"'
    )


def make_replay(kind: str, config: Any, agent: Agent, seed: int, scratch: Path | None = None) -> Replay:
    """The buffer of a configuration; `scratch` is where Reverb writes what it is about to save."""
    arguments: dict[str, Any] = {
        "capacity": config.replay_capacity,
        "sequence_length": agent.train_sequence_length,
        "priority_exponent": config.priority_exponent,
    }
    if kind == "host":
        return replay_lib.HostReplay(agent.collect_data_spec, seed=seed, **arguments)
    return replay_lib.ReverbReplay(agent.collect_data_spec, checkpoint_dir=scratch, **arguments)


class _EpisodeLog:
    """An observer that keeps the episodes that ended since the last `take`."""

    def __init__(self):
        self.reset()

    def reset(self) -> None:
        self._observer, self._taken = MetricObserver(AverageReturn(buffer_size=10_000)), 0

    def __call__(self, row: Any) -> None:
        self._observer(row)

    def take(self) -> list[Episodes]:
        episodes = int(self._observer.record(1).episodes)
        new, self._taken = min(episodes - self._taken, 10_000), episodes
        record = self._observer.record(max(1, new))
        return [(float(r), float(n), 1) for r, n in zip(record.returns[:new], record.lengths[:new], strict=True)]
