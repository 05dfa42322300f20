"""Updates from prioritised replay (Schaul et al. 2016)."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from ..agents.agent import LossInfo, TrainState
from ..envs.types import Array, Trajectory
from ..policies.schedule import Schedule, value_at

_LEAST_PRIORITY = 1e-6  # so that a window without an error is drawn again some day


def replay_update(
    train: Callable[..., tuple[TrainState, LossInfo]],
    state: TrainState,
    experience: Trajectory,
    draws: tuple[Array, Array] | None,
    importance_exponent: float | Schedule,
) -> tuple[TrainState, LossInfo, Array | None]:
    """Trains on a batch from replay, weighted as it was drawn.

    The weights of prioritised replay undo the bias of its draws, and the new priorities are the
    absolute TD errors (Schaul et al. 2016, algorithm 1).

    Args:
      train: Function of (state, experience, weights): `agent.train`, or a `Learner`'s.
      state: State to train.
      experience: Windows `[B, T, ...]`.
      draws: Probabilities of the windows `[B]` and the sizes of the tables that they are from,
        `info.probability` and `info.table_size` of a sample; None where draws were uniform.
      importance_exponent: Exponent beta of the importance weights; a float, or a schedule of the
        update count.

    Returns:
      The new state, the loss's record, and the windows' new priorities `[B]`; None where draws were
      uniform.
    """
    if draws is None:
        return *train(state, experience, None), None
    probability, table_size = draws
    beta = value_at(importance_exponent, state.step)
    masked = experience.is_last()[:, 0]
    weights = importance_weights(probability, table_size, beta, masked)
    state, info = train(state, experience, weights)
    return state, info, jnp.abs(info.per_example["td_error"]) + _LEAST_PRIORITY


def importance_weights(
    probability: Array, table_size: Array, beta: Any, masked: Array | None = None
) -> Array:
    """Returns (N P(i))^-beta divided by the batch's largest (Schaul et al. 2016, section 3.4).

    Args:
      probability: Probabilities P(i) of the windows, `[B]`.
      table_size: Number N of windows in the table, a scalar or `[B]`.
      beta: Exponent; 0 makes all weights 1.
      masked: True for windows that begin with a boundary row, `[B]`. No transition is learned
        there, so that their priority is the least, and the weights of all others would be small if
        they counted. Their own weights are cut to 1.

    Returns:
      Weights `[B]`.
    """
    probability = jnp.asarray(probability, jnp.float32)
    if masked is None:
        weights = (table_size * probability) ** -beta
        return weights / weights.max()
    unread = masked & ~((probability > 0) & jnp.isfinite(probability))
    weights = (table_size * jnp.where(unread, 1.0, probability)) ** -beta
    largest = jnp.max(weights, where=~masked, initial=jnp.finfo(jnp.float32).tiny)
    return jnp.minimum(weights / largest, 1.0)
