"""Schedules of the number of environment steps, for agents that learn from fresh rows.

An iteration of theirs has a fixed number of rows, and a run a fixed number of steps. How many
updates a run makes is known at its end only, since some rows are boundary rows. So such an agent
counts the steps in its batches, in `TrainState.extra`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from ..envs.types import Array, Tree
from ..policies.schedule import Schedule, value_at

NUM_STEPS = "num_steps"
_BATCH_STEPS = "batch_steps"
_MOST = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class OfSteps:
    """A schedule of the number of environment steps, where another is one of updates.

    On-policy agents take it for their coefficients. For a learning rate see `scale_by_steps`.

    Args:
      schedule: Function from the number of environment steps before a batch to a number, such as an
        optax schedule.
    """

    schedule: Schedule


def first_counts() -> dict[str, Array]:
    """Returns the first counts of steps, as entries of `TrainState.extra`."""
    return {NUM_STEPS: jnp.zeros((), jnp.int32), _BATCH_STEPS: jnp.zeros((), jnp.int32)}


def count_batch(extra: Mapping[str, Tree], num_steps: Array) -> dict[str, Tree]:
    """Returns `TrainState.extra` when the next batch has come.

    The count stops at 2^31 - 1.

    Args:
      extra: Entries of the state.
      num_steps: Number of steps in the batch, int32; they count as soon as another batch comes.
    """
    before = extra[NUM_STEPS]
    before += jnp.minimum(extra[_BATCH_STEPS], _MOST - before)
    return {**extra, NUM_STEPS: before, _BATCH_STEPS: num_steps}


def scheduled(schedule: float | Array | Schedule | OfSteps, state: Any) -> Any:
    """Returns the value of a constant or of a schedule of either kind, at a `TrainState`."""
    if isinstance(schedule, OfSteps):
        return schedule.schedule(state.extra[NUM_STEPS])
    return value_at(schedule, state.step)


def scale_by_steps(schedule: Schedule) -> optax.GradientTransformationExtraArgs:
    """Returns an optax transformation that multiplies updates by a schedule of environment steps.

    A learning rate that falls to 0 in 500,000 steps is
    `optax.chain(optax.adam(1.0), scale_by_steps(optax.linear_schedule(1e-3, 0.0, 500_000)))`.

    Args:
      schedule: Function from the number of environment steps before a batch to a factor.
    """

    def update(
        updates: Tree, state: Tree, params: Tree = None, *, num_steps: Any = None, **_: Any
    ) -> tuple[Tree, Tree]:
        if num_steps is None:
            raise ValueError(
                "scale_by_steps: the agent counts no environment steps, as on-policy agents do; "
                "use optax.scale_by_schedule, whose schedule is of the update count"
            )
        factor = schedule(num_steps)
        return jax.tree.map(lambda x: jnp.asarray(factor, x.dtype) * x, updates), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)
