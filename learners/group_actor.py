"""The Ray actor of each learner of a `LearnerGroup`, and its results or errors in their place."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ..envs.types import Tree
from .sharding import Part, weighted_average
from .stateful import StatefulLearner

_ADVICE = "The group cannot go on: build another one, and restore_from_path what was saved last"


class LearnerError(RuntimeError):
    """Raised if a learner's process has died or does not answer.

    The message says which, why, and what to do.
    """


class PendingUpdate(NamedTuple):
    """An update that is not finished.

    Attributes:
      per_example: References to each learner's arrays of its part.
      metrics: References to each learner's metrics, which are equal.
      sizes: Number of examples of each part that count.
      timesteps: Counts of how far the run is.
    """

    per_example: list[Any]
    metrics: list[Any]
    sizes: list[int]
    timesteps: Mapping[str, int]


class LearnerActor:
    """A learner in a process of its own.

    Args:
      make_learner: Function that builds the learner.
    """

    def __init__(self, make_learner: Callable[[], StatefulLearner]):
        self._learner = make_learner()

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Returns the result of a function of the learner and other arguments."""
        return function(self._learner, *args)

    def gradients(self, part: Part, timesteps: Mapping[str, int]) -> tuple[Tree, Tree]:
        """Makes the first half of an update, `StatefulLearner.gradients`."""
        return self._learner.gradients(part.batch, timesteps, part.weights, part.first)

    def apply(
        self, timesteps: Mapping[str, int], sizes: Sequence[int], *gradients: Tree
    ) -> dict[str, Any]:
        """Makes the second half of an update with the mean of all learners' gradients."""
        return self._learner.apply(weighted_average(gradients, sizes), timesteps)


def get_results(refs: list[Any], count: int, timeout: float, starting: bool = False) -> list[Any]:
    """Waits for the results of calls, one of each learner in order.

    Args:
      refs: References to the results.
      count: Number of learners of the group.
      timeout: Seconds to wait for each.
      starting: True where the learners are only being built, for the messages.

    Raises:
      LearnerError: if a learner has died, or does not answer in time.
      ray.exceptions.RayTaskError: if the call has raised in the learner; with its traceback there.
    """
    import ray
    from ray import exceptions

    values = []
    dead = (exceptions.RayActorError, exceptions.ObjectLostError)
    for index, ref in enumerate(refs):
        name = f"learner {index} of {count}"
        try:
            values.append(ray.get(ref, timeout=timeout))
        except exceptions.GetTimeoutError as error:
            raise LearnerError(_late(name, timeout, starting)) from error
        except dead as error:
            happened = "could not be built" if starting else f"has died. {_ADVICE}"
            raise LearnerError(f"{name} {happened}.\n{error}") from error
        except exceptions.RayTaskError as error:
            if isinstance(error.cause, dead):  # since another learner has died during the call
                raise LearnerError(f"a learner has died. {_ADVICE}.\n{error}") from error
            raise
    return values


def _late(name: str, timeout: float, starting: bool) -> str:
    import ray

    if not starting:
        return f"{name} did not answer in {timeout} s. {_ADVICE}, or raise timeout"
    have = ray.cluster_resources()
    return (
        f"{name} did not start in {timeout} s: each takes num_cpus_per_learner and "
        f"num_gpus_per_learner of {have.get('CPU', 0):g} CPUs and {have.get('GPU', 0):g} GPUs in "
        "all, and waits for room. Lower these, call ray.init with more, or raise timeout"
    )
