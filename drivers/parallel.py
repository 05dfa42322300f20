"""Drivers on Ray actors: each steps environments of its own, a bounded slice at a time."""

import pickle
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from ..envs.environment import Environment
from ..envs.specs import EnvironmentSpecs
from ..envs.types import Tree
from ..policies.policy import Policy
from ..replay.replay import ReplayBuffer
from .actor import Supervision
from .block import Block
from .block_counts import BlockCounts
from .collector import Collector
from .parameter_server import ParameterServer
from .remote_parameter_server import RemoteParameterServer, reachable_server
from .supervision import Supervisor

_SUPERVISION = Supervision()


class ParallelDriver:
    """n actors, each with its own environments, policy and `Driver`, which make rows in slices.

    At the start of a slice an actor pulls the newest parameters, if they are newer than its own.
    (It does not ask for them if this driver had published no newer ones when the slice was ordered,
    and it asked less than 0.1 s ago.) At the end the rows come back as a `Block`; or, with
    `make_replay`, the actor writes them to a replay server itself, and the block only counts them.
    An actor that raises, dies or hangs is recreated with other seeds (`Supervisor`); the rows of
    its unfinished slice are lost, and those of a block come once.

    With 0 actors there is one in this process, and no Ray.

        make_policy = lambda specs: make_agent(specs).collect_policy
        with ParallelDriver(make_env, make_policy, num_actors=8) as driver:
            driver.publish(0, agent.policy_params(state))
            for block in driver.run(num_steps=100_000):
                ...

    Functions that make things are sent by cloudpickle: they should build what they need rather than
    refer to it, and hold no JAX arrays.

    Args:
      make_env: Function that builds an actor's host environment, batched or not.
      make_policy: Function that builds its policy from the environment's specs.
      num_actors: Number of actors; 0 runs in this process.
      num_rows: Number of rows of a slice, in each environment; 10 ms of work at least.
      make_replay: Function that builds the buffer that rows are written to, in the actor:
        `lambda: RemoteReplay(spec, address)`. None sends the rows here.
      actor_params: Dict for each actor, put over the policy's parameters: {"epsilon": 0.4}.
      warmup_steps: Number of environment steps that each actor makes with random actions first.
      row_versions: Store in each row's `policy_info` the `"version"` of the parameters that acted,
        int32, wherever rows go; their tables then have the spec
        `policies.with_version(agent.collect_data_spec)`.
      parameters: Server where parameters are published; None makes one, which the driver closes.
      max_in_flight: Number of slices of an actor that may be unfinished or queued. 1 for `gather`,
        2 so that no actor idles.
      max_staleness: Greatest number of versions by which a block's parameters may be behind the
        published ones; others are dropped. None drops none.
      supervision: Rules by which actors that fail are recreated; the timeout is for a slice.
      seed: Seed of environments and draws; actors have different ones, and so has each that is
        recreated.

    Attributes:
      num_actors: Number of actors, as given.
      parameters: Server where parameters are published.
      version: Version that was published last.

    Raises:
      ValueError: if a number is out of range, or actors cannot reach `parameters`.
    """

    def __init__(
        self,
        make_env: Callable[[], Environment],
        make_policy: Callable[[EnvironmentSpecs], Policy],
        *,
        num_actors: int = 0,
        num_rows: int = 64,
        make_replay: Callable[[], ReplayBuffer] | None = None,
        actor_params: Sequence[Mapping[str, Tree]] | None = None,
        warmup_steps: int = 0,
        row_versions: bool = False,
        parameters: ParameterServer | RemoteParameterServer | None = None,
        max_in_flight: int = 2,
        max_staleness: int | None = None,
        supervision: Supervision = _SUPERVISION,
        seed: int = 0,
    ):
        if num_rows < 1 or warmup_steps < 0:
            raise ValueError(
                f"expected num_rows >= 1 and warmup_steps >= 0, got {num_rows=}, {warmup_steps=}"
            )
        if actor_params is not None and len(actor_params) != max(1, num_actors):
            raise ValueError(
                f"actor_params: expected one dict for each of {max(1, num_actors)} actors, got "
                f"{len(actor_params)}"
            )
        self.num_actors = num_actors
        self._own_parameters = parameters is None
        self.parameters = reachable_server(parameters, num_actors)
        self.version = -1
        self._counts = BlockCounts(max_staleness)
        self._early: list[Block] = []  # ended while something else was waited for
        make = partial(
            Collector,
            make_env=make_env,
            make_policy=make_policy,
            parameters=self.parameters,
            num_rows=num_rows,
            make_replay=make_replay,
            actor_params=actor_params,
            warmup_steps=warmup_steps,
            row_versions=row_versions,
            seed=seed,
        )
        most = max_in_flight if num_actors else 1
        try:
            self.supervisor = Supervisor(
                make, num_actors, max_in_flight=most, supervision=supervision
            )
        except BaseException:
            self._close_parameters()
            raise

    def __enter__(self) -> "ParallelDriver":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def num_steps(self) -> int:
        """The number of environment steps of all blocks, those dropped included."""
        return self._counts.num_steps

    @property
    def num_episodes(self) -> int:
        """The number of episodes of all blocks, those dropped included."""
        return self._counts.num_episodes

    def publish(self, version: int, params: Tree, *, wait: bool = False) -> None:
        """Publishes parameters, with which the next slices act.

        Args:
          version: Version of the parameters; versions grow.
          params: Parameters of the policy, `agent.policy_params(state)`.
          wait: Wait until they are published. Without it they may be left out, if the last ones are
            still on their way: then the next ones are published.
        """
        if self.parameters.push(version, params, wait=wait or self.version < 0):
            self.version = version

    def poll(self, timeout: float = 0.0, *, start: bool = True) -> list[Block]:
        """Starts slices on all actors that take one, and returns the blocks that are there.

        Args:
          timeout: Seconds to wait for the first block; then there is none.
          start: Start slices. With False actors that have nothing to do wait, for a learner that is
            behind.

        Raises:
          ActorError: if an actor failed too often in a row; all are ended.
        """
        if start:
            self._start()
        early, self._early = self._early, []
        answers = self.supervisor.collect(0.0 if early else timeout)
        blocks = early + [answer.value for answer in answers if answer.failure is None]
        if start and self.num_actors:  # in this process a slice is made when it is asked for
            self._start()
        return [block for block in blocks if self._counts.add(block, self.version)]

    def run(self, num_steps: int) -> Iterator[Block]:
        """Yields blocks in the order in which they come.

        Args:
          num_steps: Number of environment steps, of all actors together, after which to end.

        Raises:
          ValueError: if `num_steps` is less than 1.
        """
        if num_steps < 1:
            raise ValueError(f"num_steps: expected at least 1, got {num_steps}")
        stop = self.num_steps + num_steps
        while self.num_steps < stop:
            yield from self.poll(timeout=1.0)

    def gather(self) -> list[Block]:
        """Returns one block of each actor, in order, all made with the newest parameters.

        A slice that is lost to a failure is made again. Needs `max_in_flight=1`, and no slices left
        over from `run` or `poll`.
        """
        blocks: dict[int, Block] = {}
        waiting = set(range(len(self.supervisor)))
        while len(blocks) < len(self.supervisor):
            for actor in waiting.intersection(self.supervisor.free()):
                self.supervisor.submit(actor, "run", self._newest)
                waiting.discard(actor)
            for answer in self.supervisor.collect(timeout=1.0):
                if answer.failure is not None:
                    waiting.add(answer.actor)
                elif answer.value.version < self.version:
                    # The server has lost the newest, and Ray has recreated it.
                    if isinstance(self.parameters, RemoteParameterServer):
                        self.parameters.repeat()
                    waiting.add(answer.actor)
                elif self._counts.add(answer.value, self.version):
                    blocks[answer.actor] = answer.value
        return [blocks[actor] for actor in sorted(blocks)]

    def foreach_actor(self, function: Callable[[Collector], Any]) -> list[Any]:
        """Calls a function with each actor's `Collector`, between two slices.

        Parameters must have been published. An actor that is lost meanwhile is asked again.

        Args:
          function: Function to call, which is sent by cloudpickle.

        Returns:
          The results, in the actors' order.

        Raises:
          RuntimeError: if the function has raised in an actor, or its result cannot be sent; the
            message has the traceback.
        """
        send = partial(_pickled, function) if self.num_actors else function
        values: dict[int, Any] = {}
        calls: set[int] = set()
        waiting = set(range(len(self.supervisor)))
        while len(values) < len(self.supervisor):
            for actor in waiting.intersection(self.supervisor.free()):
                calls.add(self.supervisor.submit(actor, "apply", send))
                waiting.discard(actor)
            for answer in self.supervisor.collect(timeout=1.0):
                if answer.call not in calls:
                    self._early += [answer.value] if answer.failure is None else []
                elif answer.failure is not None:
                    waiting.add(answer.actor)
                else:
                    values[answer.actor] = answer.value
        if not self.num_actors:
            return [values[0]]
        for actor, (_, problem) in sorted(values.items()):
            if problem is not None:
                raise RuntimeError(f"in actor {actor}:\n{problem}")
        return [pickle.loads(values[actor][0]) for actor in sorted(values)]

    def report(self) -> dict[str, float]:
        """Returns numbers about all actors: their work, its staleness, and what was lost.

        Returns are those of the last 100 episodes; staleness is the published version minus a
        block's, of the last 1000 blocks.
        """
        failures = self.supervisor.num_failures
        return {
            **self._counts.report(),
            "blocks": self.supervisor.num_answers,
            "blocks_lost": self.supervisor.num_lost,
            "restarts": sum(failures.values()),
            **{f"actors_{cause}": count for cause, count in failures.items()},
        }

    def close(self) -> None:
        """Ends the actors, and the parameter server if it is the driver's. May be called twice."""
        self.supervisor.close()
        self._close_parameters()

    def _close_parameters(self) -> None:
        if self._own_parameters:
            self._own_parameters = False
            self.parameters.close()

    @property
    def _newest(self) -> int | None:
        """The newest version; None where others than this driver may publish."""
        return self.version if self._own_parameters else None

    def _start(self) -> None:
        while free := self.supervisor.free():
            for actor in free:
                self.supervisor.submit(actor, "run", self._newest)


def _pickled(
    function: Callable[[Collector], Any], collector: Collector
) -> tuple[bytes, str | None]:
    """Returns, in an actor, the pickled result of a function or the traceback of its error.

    Such an error is no failure of the actor.
    """
    from ray import cloudpickle

    try:
        return cloudpickle.dumps(function(collector)), None
    except Exception:
        return b"", traceback.format_exc()
