"""Updates whose result is not finite: they are skipped, and counted."""

import dataclasses

import jax
import jax.numpy as jnp

from ..agents.agent import Agent, LossInfo, TrainState
from ..envs.types import Array, Trajectory, Tree

SKIPPED = "skipped"  # the metric that is 1 where an update was skipped


def all_finite(tree: Tree) -> bool:
    """Returns True if no floating-point number in a tree is NaN or infinite."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if _is_float(leaf)]
    return all(bool(jnp.isfinite(leaf).all()) for leaf in leaves)


def keep_finite(before: TrainState, after: TrainState) -> tuple[TrainState, Array]:
    """Returns the state after an update, or where that is not finite the one before it.

    What was not finite before, such as the best loss that an optimizer has seen, is no reason to
    skip the update. A skipped update has used its key, so the key is always the one after it.

    Args:
      before: State before the update.
      after: State after it.

    Returns:
      The state, and a scalar that is 1 if the update was skipped and otherwise 0.
    """
    pairs = zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
    good = [(jnp.isfinite(new) | ~jnp.isfinite(old)).all() for old, new in pairs if _is_float(old)]
    keep = jnp.stack(good).all() if good else jnp.asarray(True)
    kept = jax.tree.map(
        lambda old, new: jnp.where(keep, new, old),
        dataclasses.replace(before, key=()),
        dataclasses.replace(after, key=()),
    )
    return dataclasses.replace(kept, key=after.key), jnp.int32(~keep)


def finite_update(
    agent: Agent, state: TrainState, experience: Trajectory, weights: Array | None
) -> tuple[TrainState, LossInfo]:
    """Does what `agent.train` does, and skips the update if its result is not finite.

    The metric `SKIPPED` says so.
    """
    after, info = agent.train(state, experience, weights)
    kept, skipped = keep_finite(state, after)
    return kept, info._replace(metrics={**info.metrics, SKIPPED: skipped})


def _is_float(leaf: Array) -> bool:
    # Typed random keys have a dtype of their own, which is no subtype of a number's.
    dtype = getattr(leaf, "dtype", None)
    return bool(
        jax.dtypes.issubdtype(jnp.result_type(leaf) if dtype is None else dtype, jnp.floating)
    )
