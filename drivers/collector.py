"""What an actor of a `ParallelDriver` is: a driver, the newest parameters, and slices of rows."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from ..envs.specs import EnvironmentSpecs
from ..envs.types import StepType, TimeStep, Trajectory, Tree, bootstrap_row
from ..policies.policy import Policy
from ..policies.simple import RandomPolicy
from ..policies.versioned import VERSION, VersionedPolicy
from ..replay.replay import ReplayBuffer
from .driver import Driver
from .parameter_server import ParameterServer, RemoteParameterServer

_WAIT = 30.0  # seconds for the first parameters
_PULL_SECONDS = 0.1


@dataclasses.dataclass(frozen=True)
class Block:
    """What one slice of one actor made. Iterating over it gives the T rows `[n, ...]` in their
    order.

    Attributes:
      rows: leaves `[T, n, ...]`, NumPy, not to be written to; None where the actor wrote them to a
        replay server.
      time_step: `[n, ...]`, what follows the last row.
      actor, generation: who made it.
      number: of the slice, counted by who made it from 0.
      version: of the parameters that acted.
      num_steps: environment steps; boundary rows are not counted.
      returns, lengths: of the episodes that ended, `[episodes]`, float64 and int64.
    """

    rows: Trajectory | None
    time_step: TimeStep
    actor: int
    generation: int
    number: int
    version: int
    num_steps: int
    returns: np.ndarray
    lengths: np.ndarray

    def __iter__(self) -> Iterator[Trajectory]:
        rows = self._rows()
        for t in range(len(rows.step_type)):
            yield jax.tree.map(lambda x, t=t: x[t], rows)

    def segments(self) -> Trajectory:
        """The rows and a bootstrap row, `[n, T + 1, ...]`, as on-policy agents' `prepare` takes
        them.
        """
        rows = self._rows()
        last = bootstrap_row(self.time_step, jax.tree.map(lambda x: x[-1], rows))
        join = lambda x, y: np.moveaxis(np.concatenate([x, y[None]]), 0, 1)
        return jax.tree.map(join, rows, last)

    def _rows(self) -> Trajectory:
        if self.rows is None:
            raise ValueError(
                "this block only counts rows: its actor wrote them to a replay server (make_replay)"
            )
        return self.rows


class Collector:
    """Makes slices of rows; the arguments are those of `ParallelDriver`, and which actor of which
    generation it is.

    Attributes:
      actor: which one it is.
      env, policy: as made.
      params: what the policy acted with last, on the device.
      kept: for functions that `apply` calls: what they keep here from one call to the next.
    """

    def __init__(
        self,
        actor: int,
        generation: int,
        *,
        make_env: Callable[[], Any],
        make_policy: Callable[[EnvironmentSpecs], Policy],
        parameters: ParameterServer | RemoteParameterServer,
        num_rows: int,
        make_replay: Callable[[], ReplayBuffer] | None = None,
        actor_params: Sequence[Mapping[str, Tree]] | None = None,
        warmup_steps: int = 0,
        row_versions: bool = False,
        seed: int = 0,
    ):
        self.env = make_env()
        wrap: Callable[[Policy], Policy] = (
            VersionedPolicy if row_versions else (lambda policy: policy)
        )
        self.policy = wrap(make_policy(self.env.specs))
        self.actor, self._generation = actor, generation
        self._parameters, self._num_rows = parameters, num_rows
        self._actor_params = actor_params[actor] if actor_params else {}
        self._row_versions = row_versions
        self._replay = None if make_replay is None else make_replay()
        self._rows: list[Trajectory] = []
        self._episodes = _Episodes(self.env.num_envs or 1)
        seeds = np.random.SeedSequence([seed, actor, generation]).generate_state(2)
        self._key, random_key = jax.random.split(jax.random.key(int(seeds[0])))
        observers: list[Any] = [
            self._episodes,
            self._rows.append if self._replay is None else self._replay.add,
        ]
        policy, key, self._warmup_steps = (
            self.policy,
            self._key,
            warmup_steps if generation == 0 else 0,
        )
        if self._warmup_steps:
            policy, key = wrap(RandomPolicy(self.env.specs.action)), random_key
        self._driver = Driver(self.env, policy, observers, key=key, seed=int(seeds[1] >> 1))
        self._num_slices = 0
        self.params: Tree = None
        self.kept: dict[str, Any] = {}
        self._version, self._pulled_at = -1, 0.0

    @property
    def num_steps(self) -> int:
        """Environment steps so far."""
        return self._driver.num_steps

    def run(self, newest: int | None = None) -> Block:
        """The next slice.

        Args:
          newest: the newest version that the caller has published: who has it asks for newer ones
            every 0.1 s only, since that takes as long as many rows do.

        Raises:
          TimeoutError: no parameters were published.
        """
        driver, steps = self._driver, self._driver.num_steps
        if (
            newest is None
            or self._version < max(newest, 0)
            or time.monotonic() > self._pulled_at + _PULL_SECONDS
        ):
            self.pull()
        if self._warmup_steps and driver.num_steps >= self._warmup_steps:
            driver.set_policy(self.policy, self._key)
            self._warmup_steps = 0
        driver.run(num_rows=self._num_rows, params=self.params)
        returns, lengths = self._episodes.take()
        rows = None
        if self._replay is None:
            rows = jax.tree.map(lambda *leaves: np.stack(leaves), *self._rows)
            self._rows.clear()
        else:
            self._replay.flush()  # what is counted is there
        time_step = driver.time_step
        if self.env.num_envs is None:
            rows = jax.tree.map(lambda x: x[:, None], rows)
            time_step = jax.tree.map(lambda x: np.asarray(x)[None], time_step)
        number, self._num_slices = self._num_slices, self._num_slices + 1
        made_by = (self.actor, self._generation, number, self._version)
        return Block(rows, time_step, *made_by, driver.num_steps - steps, returns, lengths)

    def apply(self, function: Callable[["Collector"], Any]) -> Any:
        """What a function gives for this collector, which has parameters by then."""
        if self._version < 0:
            self.pull()
        return function(self)

    def close(self) -> None:
        """Closes the environment and the buffer."""
        self.env.close()
        if self._replay is not None:
            self._replay.close()

    def pull(self) -> None:
        """Takes the newest parameters.

        Raises:
          TimeoutError: none were published.
        """
        self._pulled_at = time.monotonic()
        deadline = self._pulled_at + _WAIT
        while True:
            newer = self._parameters.pull_if_newer(self._version)
            if newer is not None:
                self._version, params = newer
                if self._actor_params:
                    params = {**params, **self._actor_params}
                if self._row_versions:
                    params = {**params, VERSION: np.int32(self._version)}
                self.params = jax.device_put(params)  # once, and not with every row
            if self._version >= 0:
                return
            if time.monotonic() > deadline or isinstance(self._parameters, ParameterServer):
                raise TimeoutError(
                    "no parameters were published: call driver.publish(0, "
                    "agent.policy_params(state)) first"
                )
            time.sleep(0.05)


class _Episodes:
    """An observer that gives the returns and lengths of the episodes that ended since they were
    last taken.

    It keeps what it needs of the rows, and looks at all of them at once: to sum row by row takes
    several times as long.
    """

    def __init__(self, num_envs: int) -> None:
        self._rows: list[tuple[Any, Any, Any]] = []
        self._return, self._length = (
            np.zeros(num_envs),
            np.zeros(num_envs, np.int64),
        )  # of the episodes under way

    def __call__(self, row: Trajectory) -> None:
        self._rows.append((row.step_type, row.next_step_type, row.reward))

    def take(self) -> tuple[np.ndarray, np.ndarray]:
        shape = (len(self._rows), len(self._return))
        step_type, next_step_type, reward = (
            np.reshape(leaves, shape) for leaves in zip(*self._rows, strict=True)
        )
        self._rows.clear()
        live = step_type != StepType.LAST
        earned = np.where(live, reward, 0.0).astype(np.float64)
        begin = np.zeros(shape[1], np.int64)
        ended: list[tuple[float, int]] = []
        for t, i in np.argwhere(live & (next_step_type == StepType.LAST)):
            rows = slice(begin[i], t + 1)
            ended.append(
                (self._return[i] + earned[rows, i].sum(), self._length[i] + live[rows, i].sum())
            )
            self._return[i], self._length[i], begin[i] = 0.0, 0, t + 1
        under_way = np.arange(shape[0])[:, None] >= begin
        self._return += np.sum(earned, axis=0, where=under_way)
        self._length += np.sum(live, axis=0, where=under_way)
        return np.array([r for r, _ in ended], np.float64), np.array(
            [n for _, n in ended], np.int64
        )
