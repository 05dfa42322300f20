"""The collector that each actor of a `ParallelDriver` runs: a driver and the newest parameters."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from ..envs.environment import Environment, check_host_environment
from ..envs.specs import EnvironmentSpecs
from ..envs.types import Trajectory, Tree
from ..metrics import EpisodeLog
from ..policies.policy import Policy
from ..policies.simple import RandomPolicy
from ..policies.versioned import VERSION, VersionedPolicy
from ..replay.replay import Observer, ReplayBuffer
from .block import Block
from .driver import Driver
from .parameter_server import ParameterServer
from .remote_parameter_server import RemoteParameterServer

_WAIT = 30.0  # seconds for the first parameters
_PULL_SECONDS = 0.1


class Collector:
    """Makes slices of rows with the newest parameters.

    Args:
      actor: Number of the actor.
      generation: Number of times that the actor has been recreated.
      make_env: As for `ParallelDriver`.
      make_policy: As for `ParallelDriver`.
      parameters: Server to take parameters from.
      num_rows: As for `ParallelDriver`.
      make_replay: As for `ParallelDriver`.
      actor_params: As for `ParallelDriver`.
      warmup_steps: As for `ParallelDriver`.
      row_versions: As for `ParallelDriver`.
      seed: As for `ParallelDriver`.

    Attributes:
      actor: Number of the actor.
      env: Environment, as made.
      policy: Policy, as made.
      params: Parameters that the policy acted with last, on the device.
      cache: Dict in which functions that `apply` calls keep things from one call to the next.
    """

    def __init__(
        self,
        actor: int,
        generation: int,
        *,
        make_env: Callable[[], Environment],
        make_policy: Callable[[EnvironmentSpecs], Policy],
        parameters: ParameterServer | RemoteParameterServer,
        num_rows: int,
        make_replay: Callable[[], ReplayBuffer] | None = None,
        actor_params: Sequence[Mapping[str, Tree]] | None = None,
        warmup_steps: int = 0,
        row_versions: bool = False,
        seed: int = 0,
    ):
        self.actor = actor
        self.env = make_env()
        check_host_environment(self.env)
        self.policy = self._versioned(make_policy(self.env.specs), row_versions)
        self.params: Tree = None
        self.cache: dict[str, Any] = {}
        self._generation = generation
        self._parameters = parameters
        self._num_rows = num_rows
        self._replay = None if make_replay is None else make_replay()
        self._actor_params = actor_params[actor] if actor_params else {}
        self._row_versions = row_versions
        self._warmup_steps = warmup_steps if generation == 0 else 0
        self._rows: list[Trajectory] = []
        self._episodes = EpisodeLog()
        self._num_slices = 0
        self._version = -1
        self._pulled_at = 0.0
        seeds = np.random.SeedSequence([seed, actor, generation]).generate_state(2)
        self._key, random_key = jax.random.split(jax.random.key(int(seeds[0])))
        policy = self.policy
        key = self._key
        if self._warmup_steps:
            policy = self._versioned(RandomPolicy(self.env.specs.action), row_versions)
            key = random_key
        write: Observer = self._rows.append if self._replay is None else self._replay.add
        observers: list[Observer] = [self._episodes, write]
        self._driver = Driver(self.env, policy, observers, key=key, seed=int(seeds[1] >> 1))

    @property
    def num_steps(self) -> int:
        """The number of environment steps so far."""
        return self._driver.num_steps

    def run(self, newest: int | None = None) -> Block:
        """Makes the next slice.

        Args:
          newest: Newest version that the caller has published. With it, newer ones are asked for
            every 0.1 s only, since that takes as long as many rows do.

        Raises:
          TimeoutError: if no parameters were published.
        """
        driver = self._driver
        steps = driver.num_steps
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
        rows = None
        if self._replay is None:
            rows = jax.tree.map(lambda *leaves: np.stack(leaves), *self._rows)
            self._rows.clear()
        else:
            self._replay.flush()  # so that rows that are counted are there
        time_step = driver.time_step
        if self.env.num_envs is None:
            rows = jax.tree.map(lambda x: x[:, None], rows)
            time_step = jax.tree.map(lambda x: np.asarray(x)[None], time_step)
        returns, lengths = self._episodes.take()
        self._num_slices += 1
        return Block(
            rows=rows,
            time_step=time_step,
            actor=self.actor,
            generation=self._generation,
            number=self._num_slices - 1,
            version=self._version,
            num_steps=driver.num_steps - steps,
            returns=returns,
            lengths=lengths,
        )

    def apply(self, function: Callable[["Collector"], Any]) -> Any:
        """Returns the result of a function of this collector, which has parameters by then."""
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
          TimeoutError: if none were published.
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

    @staticmethod
    def _versioned(policy: Policy, row_versions: bool) -> Policy:
        return VersionedPolicy(policy) if row_versions else policy
