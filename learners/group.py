"""A group of learners in Ray actors that share each update's batch, or one in this process."""

import collections
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ..drivers.ray_runtime import learner_environment, start_ray
from ..envs.types import Array, Tree
from .components import restore, save
from .group_actor import LearnerActor, LearnerError, PendingUpdate, get_results
from .sharding import Part, split_batch
from .stateful import StatefulLearner, result


class LearnerGroup:
    """n equal learners that share the batch of each update.

    Each computes the gradient of its part of a batch, and applies the mean over all parts.
    Each holds the whole state, and each update is the same in all, so that the states stay equal.
    The mean is weighted by the parts' sizes and taken before the optimizer, which clips, sees it:
    an update is that of the whole batch on one learner, except for the order in which floats are
    added. The learners hand their gradients to each other through Ray's object store, and batches
    and states travel as NumPy. What raises in a learner is raised here, with its traceback there.

    With 0 learners there is one in this process, and no Ray. Use that for the devices of one
    machine.

    Args:
      make_learner: Function that builds a learner, in its process:
        `lambda: StatefulLearner(agent(), key=key(0))`. It is sent there by cloudpickle, so it
        should build what it needs rather than refer to it.
      num_learners: Number of Ray actors; 0 has one learner in this process. Ray is started on this
        machine if `ray.init` was not called before.
      num_cpus_per_learner: Number of CPUs that Ray reserves for each.
      num_gpus_per_learner: Number of GPUs that Ray reserves for each; a fraction shares one, and
        its memory. With 0 a learner sees no GPU.
      max_in_flight: Number of asynchronous updates that may be unfinished, at least 1; batches
        beyond are dropped.
      timeout: Seconds to wait for a learner, to start or to answer, compilation included.

    Attributes:
      num_dropped: Number of batches that asynchronous updates dropped.

    Raises:
      ValueError: if a number is out of range.
      LearnerError: if the learners could not be started; with the traceback, if `make_learner`
        raised.
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
        self.num_dropped = 0
        self._timeout = timeout
        self._max_in_flight = max_in_flight
        self._in_flight: collections.deque[PendingUpdate] = collections.deque()
        self._local = None if num_learners else make_learner()
        self._actors: list[Any] = []
        self._closed = False
        if num_learners:
            ray = start_ray()
            resources = {"num_cpus": num_cpus_per_learner, "num_gpus": num_gpus_per_learner}
            runtime_env = {"env_vars": learner_environment(num_gpus_per_learner)}
            actor = ray.remote(LearnerActor).options(**resources, runtime_env=runtime_env)
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
        """Ends the learners' processes, and with them the group; unfinished updates are lost."""
        for actor in self._actors:
            import ray

            ray.kill(actor)
        self._in_flight.clear()
        self._local = None
        self._actors = []
        self._closed = True

    @property
    def num_in_flight(self) -> int:
        """The number of asynchronous updates whose results were not returned yet."""
        return len(self._in_flight)

    def prepare(self, experience: Tree) -> Tree:
        """Makes the batch of an on-policy agent's `update`, as `StatefulLearner.prepare` does.

        All learners prepare the whole batch, so that their states stay equal.

        Args:
          experience: Rows `[B, T + 1, ...]`.
        """

        def prepare(learner: StatefulLearner, rows: Tree, index: int) -> Tree:
            examples = learner.prepare(rows)
            return None if index else examples  # once is enough

        return self._send(prepare, jax.device_get(experience))

    def update(
        self, batch: Tree, timesteps: Mapping[str, int], weights: Array | None = None
    ) -> dict[str, Any]:
        """Trains once on a batch of any size; parts that are smaller than others are padded.

        Args:
          batch: Argument of the agent's `train`, leaves `[B, ...]`; for an on-policy agent the
            result of `prepare`.
          timesteps: As for `StatefulLearner.update`.
          weights: Weights of the examples, `[B]`.

        Returns:
          The result of `StatefulLearner.update`, of the whole batch.

        Raises:
          ValueError: if the batch is empty.
          LearnerError: if a learner has died, or does not answer.
        """
        if self._local is not None:
            return self._local.update(batch, timesteps, weights)
        return self._result(self._submit(self._split(batch, weights), timesteps))

    def async_update(
        self, batch: Tree, timesteps: Mapping[str, int], weights: Array | None = None
    ) -> list[dict[str, Any]]:
        """Begins an `update` and does not wait for its end.

        If `max_in_flight` are unfinished, this batch is dropped, and counted in `num_dropped`. Any
        later call of the group finds all updates made that were not dropped.

        Args:
          batch: As for `update`.
          timesteps: As for `update`.
          weights: As for `update`.

        Returns:
          The results of earlier updates that are done, in their order.

        Raises:
          ValueError: if there are no actors, or the batch is empty.
          LearnerError: if a learner has died.
        """
        if self._local is not None:
            raise ValueError(
                "async_update needs learners of their own, "
                "got num_learners=0: use 1 or more, or update"
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
        """Returns the results of a function of each learner, in order.

        Args:
          function: Function of a learner; its changes must be the same in all.
        """
        if self._local is not None:
            return [function(self._local)]
        return self._get([actor.call.remote(function) for actor in self._open()])

    def get_state(self, components: str | Sequence[str] | None = None) -> dict[str, Any]:
        """Returns `StatefulLearner.get_state` of the first learner; all are equal."""
        return self._first(lambda learner: learner.get_state(components))

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Calls `StatefulLearner.set_state` of all learners."""
        state = jax.device_get(dict(state))
        self._send(lambda learner, state, _: learner.set_state(state), state)

    def get_weights(self, components: str | Sequence[str] | None = None) -> dict[str, Any]:
        """Returns `StatefulLearner.get_weights` of the first learner; all are equal."""
        return self._first(lambda learner: learner.get_weights(components))

    def policy_params(self) -> Tree:
        """Returns `StatefulLearner.policy_params` of the first learner; all are equal."""
        return self._first(lambda learner: learner.policy_params())

    def set_weights(self, weights: Mapping[str, Any]) -> None:
        """Calls `StatefulLearner.set_weights` of all learners."""
        self._send(
            lambda learner, weights, _: learner.set_weights(weights), jax.device_get(dict(weights))
        )

    def save_to_path(self, path: str | os.PathLike[str]) -> Path:
        """Writes the state to the folder `path` of this machine, and returns the folder."""
        return save(self.get_state(), path)

    def restore_from_path(self, path: str | os.PathLike[str]) -> None:
        """Reads the state that `save_to_path` of any number of learners wrote, into all of these.

        Args:
          path: Folder.

        Raises:
          FileNotFoundError: if there is nothing in `path`.
          CheckpointError: if it is damaged, or of another kind of agent.
        """
        self.set_state(restore(self.get_state(), path))

    def _first(self, function: Callable[[StatefulLearner], Any]) -> Any:
        if self._local is not None:
            return function(self._local)
        return self._get([self._open()[0].call.remote(function)])[0]

    def _send(self, function: Callable[[StatefulLearner, Any, int], Any], value: Any) -> Any:
        """Calls `function(learner, value, index)` in each learner; returns the first result."""
        if self._local is not None:
            return function(self._local, value, 0)
        import ray

        shared = ray.put(value)  # once, for all
        actors = enumerate(self._open())
        return self._get([actor.call.remote(function, shared, index) for index, actor in actors])[0]

    def _open(self) -> list[Any]:
        if self._closed:
            raise LearnerError("the group is closed: its learners are gone. Build another one")
        return self._actors

    def _split(self, batch: Tree, weights: Array | None) -> list[Part]:
        return split_batch(batch, weights, len(self._open()))

    def _submit(self, parts: list[Part], timesteps: Mapping[str, int]) -> PendingUpdate:
        timesteps = dict(timesteps)
        halves = [
            actor.gradients.options(num_returns=2).remote(part, timesteps)
            for actor, part in zip(self._actors, parts, strict=True)
        ]
        sizes = [part.size for part in parts]
        gradients = [gradient for gradient, _ in halves]
        # Ray runs an actor's calls in their order: what is submitted next finds this update
        # applied.
        metrics = [actor.apply.remote(timesteps, sizes, *gradients) for actor in self._actors]
        return PendingUpdate([per_example for _, per_example in halves], metrics, sizes, timesteps)

    def _result(self, update: PendingUpdate) -> dict[str, Any]:
        # First, since here an error is that learner's own.
        per_example = self._get(update.per_example)
        metrics = self._get(update.metrics)[0]
        cut = [
            jax.tree.map(lambda x, n=n: x[:n], part)
            for part, n in zip(per_example, update.sizes, strict=True)
        ]
        whole = jax.tree.map(lambda *parts: np.concatenate(parts), *cut)
        return result(metrics, whole, update.timesteps)

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
        return get_results(refs, len(self._actors), self._timeout, starting)
