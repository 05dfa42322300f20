"""The base of the loops that run on device: initial state, iterations, reports, whole training."""

import abc
import dataclasses
from typing import Generic, TypeVar

import jax
import jax.numpy as jnp
from flax import struct

from ..agents.agent import Agent, TrainState
from ..agents.es import EsAgent
from ..envs.checks import check_at_least
from ..envs.environment import Environment, JaxEnvironment
from ..envs.types import Array


@struct.dataclass
class ScanState:
    """Everything that changes in a loop on device; saved and restored, the loop resumes exactly.

    Attributes:
      train: State of the agent.
      key: Typed key, which stays as it is: an iteration folds its number into it.
      iteration: Number of iterations so far, int32.
      num_steps: Number of environment steps so far, those of the warm-up included, int32; it
        wraps around at 2^31, differences stay right.
    """

    train: TrainState
    key: Array
    iteration: Array
    num_steps: Array


State = TypeVar("State", bound=ScanState)
# What an iteration adds up, and what is combined in another way; its other metrics are means.
_SUMS = {"episodes", "episode_return", "episode_length"}
_COMBINE = {"episode_return_max": jnp.maximum, "episode_return_min": jnp.minimum}
_START = {"episode_return_max": -jnp.inf, "episode_return_min": jnp.inf}


@dataclasses.dataclass(frozen=True, eq=False)
class Scan(abc.ABC, Generic[State]):
    """A training loop that runs on device as one compiled program.

    A subclass has fields, an `init` and an `iteration`; what is here runs iterations and reports
    on them. All methods are pure functions, to jit and to vmap. All loops of this library count by
    one rule, on device and on the host:

    - a row is one call of `env.step` in one environment, boundary rows included;
    - a step is an environment step: a row that is no boundary row, summed over environments;
    - an update is one step of the optimizer;
    - an iteration is what a loop repeats: some rows or episodes, then some updates.

    Args:
      agent: Agent to train.
      env: Environment to train in; None where there is none.
    """

    agent: Agent | EsAgent
    env: JaxEnvironment | Environment | None

    @abc.abstractmethod
    def init(self, key: Array) -> State:
        """Returns the state of a loop that begins: a fresh agent, and what it needs to act."""

    @abc.abstractmethod
    def iteration(self, state: State) -> tuple[State, dict[str, Array]]:
        """Runs one iteration.

        Returns:
          The new state, and metrics, which are scalars: means of the agent's over the iteration's
          updates, and any numbers where there was none; where episodes are played also `episodes`,
          the number of those that ended, `episode_return`, the sum of their returns, and, as far as
          they are known, `episode_length`, the sum of their lengths, `episode_return_max` and
          `episode_return_min` (`metrics.RowCounts.metrics` has them).
        """

    def run(
        self, state: State, num_iterations: int | Array, num_reports: int = 1
    ) -> tuple[State, dict[str, Array]]:
        """Runs iterations; N of them and then M of them are exactly N + M.

        Args:
          state: State from `init` or from an earlier run; donate it when jitting.
          num_iterations: Number of iterations to run, a multiple of `num_reports`. With one report
            it may be a traced integer, so that one program serves any number.
          num_reports: Number of equal parts of the iterations that are reported apart.

        Returns:
          The state, and metrics `[num_reports]`, each over its part of the iterations: means of the
          agent's metrics over its updates (0 if there was none), `steps` (environment steps), and
          where episodes are played `episodes` (the number of those that ended), `episode_return`
          and `episode_length` (their mean return and length; 0 if none ended),
          `episode_return_max` and `episode_return_min` (-inf and inf if none ended).

        Raises:
          ValueError: if `num_iterations` is no positive multiple of `num_reports`, or is traced and
            there are several reports.
        """
        length = _iterations_per_report(num_iterations, num_reports)
        iteration = jax.jit(self.iteration, inline=True)  # what is traced here is not traced again
        shapes = jax.eval_shape(iteration, state)[1]
        zeros = {
            name: jnp.full(x.shape, _START.get(name, 0), x.dtype) for name, x in shapes.items()
        }

        def add_up(_: Array, carry: tuple) -> tuple:
            state, total = carry
            before = state.train.step
            state, metrics = iteration(state)
            updates = state.train.step - before
            for name, value in metrics.items():
                if name in _COMBINE:
                    total[name] = _COMBINE[name](total[name], value)
                elif name in _SUMS:
                    total[name] += value
                else:
                    total[name] += jnp.where(updates > 0, value * updates, 0)
            return state, total

        def report(state: State, _: None) -> tuple[State, dict[str, Array]]:
            steps, updates = state.num_steps, state.train.step
            state, total = jax.lax.fori_loop(0, length, add_up, (state, zeros))
            updates = state.train.step - updates
            metrics = {"steps": state.num_steps - steps}
            if "episodes" in total:
                metrics["episodes"] = total.pop("episodes")
                count = jnp.maximum(metrics["episodes"], 1)
                metrics["episode_return"] = total.pop("episode_return") / count
                if "episode_length" in total:
                    metrics["episode_length"] = total.pop("episode_length") / count
            metrics |= {name: total.pop(name) for name in _COMBINE if name in total}
            means = {name: value / jnp.maximum(updates, 1) for name, value in total.items()}
            return state, means | metrics

        return jax.lax.scan(report, state, length=num_reports)

    def train(
        self, key: Array, num_iterations: int | Array, num_reports: int = 1
    ) -> tuple[State, dict[str, Array]]:
        """Trains from scratch: `init`, then `run`, as one pure function of a key.

        Jit it, and vmap it over keys, or over any float hyperparameter of an agent that is built
        inside:

            def experiment(key, learning_rate):
                agent = DqnAgent(env.specs, QNetwork(2), optax.adam(learning_rate))
                return OffPolicyScan(agent, env).train(key, num_iterations=10_000)

            keys, rates = jax.random.split(jax.random.key(0), 3), jnp.array([1e-4, 1e-3, 1e-2])
            state, metrics = jax.jit(jax.vmap(experiment))(keys, rates)

        Args:
          key: Typed key of the whole training.
          num_iterations: As for `run`.
          num_reports: As for `run`.

        Returns:
          The state and the metrics, as from `run`.

        Raises:
          ValueError: As from `run`.
        """
        return self.run(self.init(key), num_iterations, num_reports)

    def _check_at_least(self, least: int, *names: str) -> None:
        """Raises a ValueError unless the fields named are at least `least`."""
        numbers = {name: getattr(self, name) for name in names}
        check_at_least(type(self).__name__, least, numbers)


def _iterations_per_report(num_iterations: int | Array, num_reports: int) -> int | Array:
    if isinstance(num_iterations, jax.core.Tracer):
        if num_reports == 1:
            return num_iterations
        raise ValueError(f"expected one report where num_iterations is traced, got {num_reports}")
    if num_iterations < 1 or num_reports < 1 or num_iterations % num_reports:
        raise ValueError(
            f"expected num_iterations to be a positive multiple of {num_reports=}, "
            f"got {num_iterations}"
        )
    return num_iterations // num_reports
