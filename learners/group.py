"""Learners in Ray actors that share each update's batch, or one learner in this process, by the
same methods.
"""

import collections
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from ..drivers.ray_runtime import import_ray, learner_environment
from ..envs.types import Array, Tree
from .sharding import Part, split_batch, weighted_average
from .stateful import StatefulLearner, restore, result, save

_ADVICE = "The group cannot go on: build another one, and restore_from_path what was saved last"


class LearnerError(RuntimeError):
    """A learner's process has died, or does not answer; the message says which, why, and what to
    do.
    """


class LearnerGroup:
    """n equal learners, each of which computes the gradient of its part of a batch and applies the
    mean over all parts.

    Each holds the whole state, and each update is the same in all, so that the states stay equal.
    The mean is weighted by the parts' sizes and taken before the optimizer, which clips, sees it:
    an update is that of the whole batch on one learner, but for the order in which floats are
    added. The learners hand their gradients to each other through Ray's object store, and batches
    and states travel as NumPy. What raises in a learner is raised here, with its traceback there.

    With 0 learners there is one in this process, and no Ray. Use that for the devices of one
    machine.

    Args:
      make_learner: builds a learner, in the process that it is to be in:
        `lambda: StatefulLearner(agent(), key=key(0))`. It is sent there by cloudpickle, so it
        should build what it needs rather than refer to it.
      num_learners: 0, or the number of Ray actors. Ray is started on this machine if `ray.init` was
        not called before.
      num_cpus_per_learner: what Ray reserves for each.
      num_gpus_per_learner: what Ray reserves for each; a fraction shares one, and its memory. With
        0 a learner sees no GPU.
      max_in_flight: how many asynchronous updates may be unfinished, at least 1; batches beyond are
        dropped.
      timeout: seconds to wait for a learner, to start or to answer, compilation included.

    Raises:
      ValueError: for a number out of range.
      LearnerError: the learners could not be started; with the traceback, if `make_learner` raised.
    """

    def __init__(
        self,
        make_learner: Callable[[], StatefulLearner],
        num_learners: int = 0,
        *,
        num_cpus_per_learner: float = 1,
        num_gpus_per_learner: float = 0,
        max_in_flight: int = 3,
        timeout: float = 300.0,
    ):
        if num_learners < 0 or max_in_flight < 1:
            raise ValueError(
                f"expected num_learners >= 0 and max_in_flight >= 1, got {num_learners=}, "
                f"{max_in_flight=}"
            )
        self.num_dropped = 0  # batches that asynchronous updates did not take
        self._timeout, self._max_in_flight = timeout, max_in_flight
        self._in_flight: collections.deque[_Update] = collections.deque()
        self._local = None if num_learners else make_learner()
        self._actors: list[Any] = []
        self._closed = False
        if num_learners:
            ray = import_ray()
            resources = {"num_cpus": num_cpus_per_learner, "num_gpus": num_gpus_per_learner}
            runtime_env = {"env_vars": learner_environment(num_gpus_per_learner)}
            actor = ray.remote(_Actor).options(**resources, runtime_env=runtime_env)
            self._actors = [actor.remote(make_learner) for _ in range(num_learners)]
            try:
                self._get(
                    [actor.call.remote(lambda _: None) for actor in self._actors], starting=True
                )
            except BaseException:
                self.close()
                raise

    def __len__(self) -> int:
        return max(1, len(self._actors))

    def __enter__(self) -> "LearnerGroup":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the learners' processes; unfinished updates are lost. The group is of no use
        afterwards.
        """
        for actor in self._actors:
            import ray

            ray.kill(actor)
        self._in_flight.clear()
        self._local, self._actors, self._closed = None, [], True

    @property
    def num_in_flight(self) -> int:
        """Asynchronous updates whose results were not returned yet."""
        return len(self._in_flight)

    def prepare(self, experience: Tree) -> Tree:
        """`StatefulLearner.prepare`, of the whole batch in all learners, so that the states stay
        equal.
        """

        def prepare(learner: StatefulLearner, rows: Tree, index: int) -> Tree:
            examples = learner.prepare(rows)
            return None if index else examples  # once is enough

        return self._send(prepare, jax.device_get(experience))

    def update(
        self, batch: Tree, timesteps: Mapping[str, int], weights: Array | None = None
    ) -> dict[str, Any]:
        """One update on a batch `[B, ...]`, of any B; parts that are smaller than others, or empty,
        are padded.

        Args:
          batch: what the agent's `train` takes, leaves `[B, ...]`; of an on-policy agent what
            `prepare` gave.
          timesteps: as for `StatefulLearner.update`.
          weights: of the examples, `[B]`.

        Returns:
          What `StatefulLearner.update` returns, of the whole batch.

        Raises:
          ValueError: an empty batch.
          LearnerError: a learner has died, or does not answer.
        """
        if self._local is not None:
            return self._local.update(batch, timesteps, weights)
        return self._result(self._submit(self._split(batch, weights), timesteps))

    def async_update(
        self, batch: Tree, timesteps: Mapping[str, int], weights: Array | None = None
    ) -> list[dict[str, Any]]:
        """`update` that does not wait for its end: returns the results of earlier ones that are
        done, in their order.

        If `max_in_flight` are unfinished, this batch is dropped, and counted in `num_dropped`. What
        is asked of the group next finds all updates made that were taken.

        Raises:
          ValueError: there are no actors, or an empty batch.
          LearnerError: a learner has died.
        """
        if self._local is not None:
            raise ValueError(
                "async_update needs learners of their own, got num_learners=0: use 1 or more, or "
                "update"
            )
        parts = self._split(batch, weights)  # first, since an error must not lose results
        results = self._finished()
        if len(self._in_flight) < self._max_in_flight:
            self._in_flight.append(self._submit(parts, timesteps))
        else:
            self.num_dropped += 1
        return results

    def flush(self) -> list[dict[str, Any]]:
        """Waits for all asynchronous updates; returns the results that were not returned yet."""
        results = []
        while self._in_flight:
            results.append(self._result(self._in_flight.popleft()))
        return results

    def foreach_learner(self, function: Callable[[StatefulLearner], Any]) -> list[Any]:
        """What `function(learner)` returns, of each learner in order; what it changes must be the
        same in all.
        """
        if self._local is not None:
            return [function(self._local)]
        return self._get([actor.call.remote(function) for actor in self._open()])

    def get_state(self, components: str | Sequence[str] | None = None) -> dict[str, Any]:
        """`StatefulLearner.get_state` of the first learner, whom all equal."""
        return self._first(lambda learner: learner.get_state(components))

    def set_state(self, state: Mapping[str, Any]) -> None:
        """`StatefulLearner.set_state` of all learners."""
        state = jax.device_get(dict(state))
        self._send(lambda learner, state, _: learner.set_state(state), state)

    def get_weights(self, components: str | Sequence[str] | None = None) -> dict[str, Any]:
        """`StatefulLearner.get_weights` of the first learner, whom all equal."""
        return self._first(lambda learner: learner.get_weights(components))

    def set_weights(self, weights: Mapping[str, Any]) -> None:
        """`StatefulLearner.set_weights` of all learners."""
        self._send(
            lambda learner, weights, _: learner.set_weights(weights), jax.device_get(dict(weights))
        )

    def save_to_path(self, path: str | os.PathLike[str]) -> Path:
        """Writes the first learner's state, whom all equal, to the folder `path` of this machine;
        returns the folder.
        """
        return save(self.get_state(), path)

    def restore_from_path(self, path: str | os.PathLike[str]) -> None:
        """Reads what `save_to_path` wrote, of any number of learners, into all of these.

        Raises:
          FileNotFoundError: there is nothing in `path`.
          CheckpointError: it is damaged, or of another kind of agent.
        """
        self.set_state(restore(self.get_state(), path))

    def _first(self, function: Callable[[StatefulLearner], Any]) -> Any:
        if self._local is not None:
            return function(self._local)
        return self._get([self._open()[0].call.remote(function)])[0]

    def _send(self, function: Callable[[StatefulLearner, Any, int], Any], value: Any) -> Any:
        """Calls `function(learner, value, index)` in each learner; returns what the first one's
        gives.
        """
        if self._local is not None:
            return function(self._local, value, 0)
        import ray

        actors, shared = self._open(), ray.put(value)  # once, for all
        return self._get(
            [actor.call.remote(function, shared, index) for index, actor in enumerate(actors)]
        )[0]

    def _open(self) -> list[Any]:
        if self._closed:
            raise LearnerError("the group is closed: its learners are gone. Build another one")
        return self._actors

    def _split(self, batch: Tree, weights: Array | None) -> list[Part]:
        return split_batch(batch, weights, len(self._open()))

    def _submit(self, parts: list[Part], timesteps: Mapping[str, int]) -> "_Update":
        timesteps, pairs = dict(timesteps), zip(self._actors, parts, strict=True)
        halves = [
            actor.gradients.options(num_returns=2).remote(part, timesteps) for actor, part in pairs
        ]
        sizes, gradients = [part.size for part in parts], [gradient for gradient, _ in halves]
        # Ray runs an actor's calls in their order: what is submitted next finds this update
        # applied.
        metrics = [actor.apply.remote(timesteps, sizes, *gradients) for actor in self._actors]
        return _Update([per_example for _, per_example in halves], metrics, sizes, timesteps)

    def _result(self, update: "_Update") -> dict[str, Any]:
        per_example = self._get(
            update.per_example
        )  # first, since here an error is that learner's own
        metrics = self._get(update.metrics)[0]
        cut = [
            jax.tree.map(lambda x, n=n: x[:n], part)
            for part, n in zip(per_example, update.sizes, strict=True)
        ]
        return result(
            metrics, jax.tree.map(lambda *parts: np.concatenate(parts), *cut), update.timesteps
        )

    def _finished(self) -> list[dict[str, Any]]:
        import ray

        results = []
        while self._in_flight:
            waiting = self._in_flight[0].metrics
            if ray.wait(waiting, num_returns=len(waiting), timeout=0)[1]:
                break
            results.append(self._result(self._in_flight.popleft()))
        return results

    def _get(self, refs: list[Any], starting: bool = False) -> list[Any]:
        import ray
        from ray import exceptions

        values, dead = [], (exceptions.RayActorError, exceptions.ObjectLostError)
        for index, ref in enumerate(refs):
            name = f"learner {index} of {len(self._actors)}"
            try:
                values.append(ray.get(ref, timeout=self._timeout))
            except exceptions.GetTimeoutError as error:
                if not starting:
                    raise LearnerError(
                        f"{name} did not answer in {self._timeout} s. {_ADVICE}, or raise timeout"
                    ) from error
                have = ray.cluster_resources()
                raise LearnerError(
                    f"{name} did not start in {self._timeout} s: each takes num_cpus_per_learner "
                    "and num_gpus_per_learner of "
                    f"{have.get('CPU', 0):g} CPUs and {have.get('GPU', 0):g} GPUs in all, and "
                    "waits for room. Lower these, "
                    "call ray.init with more, or raise timeout"
                ) from error
            except dead as error:
                told = "could not be built" if starting else f"has died. {_ADVICE}"
                raise LearnerError(f"{name} {told}.\n{error}") from error
            except exceptions.RayTaskError as error:
                if isinstance(
                    error.cause, dead
                ):  # what another learner's death makes of this one's call
                    raise LearnerError(f"a learner has died. {_ADVICE}.\n{error}") from error
                raise  # what was raised in the learner, with its traceback there
        return values


class _Update(NamedTuple):
    """What an update's result is made of, when it is there: references, and what is known
    already.
    """

    per_example: list[Any]
    metrics: list[Any]
    sizes: list[int]
    timesteps: Mapping[str, int]


class _Actor:
    """A learner in a process of its own."""

    def __init__(self, make_learner: Callable[[], StatefulLearner]):
        self._learner = make_learner()

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        return function(self._learner, *args)

    def gradients(self, part: Part, timesteps: Mapping[str, int]) -> tuple[Tree, Tree]:
        return self._learner.gradients(part.batch, timesteps, part.weights, part.first)

    def apply(
        self, timesteps: Mapping[str, int], sizes: Sequence[int], *gradients: Tree
    ) -> dict[str, Any]:
        return self._learner.apply(weighted_average(gradients, sizes), timesteps)
