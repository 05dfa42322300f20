"""How environments, on the host and on device, make their time steps.

The constants are NumPy's, so that host environments touch no device and traced code sees literals.
"""

import numpy as np

from .types import Array, StepType, TimeStep, Tree

_FLOAT32 = np.dtype(np.float32)


def restart(observation: Tree, batch_shape: tuple[int, ...] = ()) -> TimeStep:
    """The FIRST time step of an episode: reward 0, discount 1; `observation` has leading axes
    `batch_shape`.
    """
    return _time_step(StepType.FIRST, np.float32(0.0), np.float32(1.0), observation, batch_shape)


def transition(
    reward: Array, observation: Tree, discount: Array = 1.0, batch_shape: tuple[int, ...] = ()
) -> TimeStep:
    """A MID time step; `reward` and `discount` are scalars or `[*batch_shape]` and become
    float32.
    """
    return _time_step(StepType.MID, reward, discount, observation, batch_shape)


def termination(reward: Array, observation: Tree, batch_shape: tuple[int, ...] = ()) -> TimeStep:
    """The LAST time step of an episode whose task ended: discount 0, so nothing after it has any
    value.
    """
    return _time_step(StepType.LAST, reward, np.float32(0.0), observation, batch_shape)


def truncation(
    reward: Array, observation: Tree, discount: Array = 1.0, batch_shape: tuple[int, ...] = ()
) -> TimeStep:
    """The LAST time step of an episode that was cut off, by a time limit say: discount 1, so that
    its value is bootstrapped.
    """
    return _time_step(StepType.LAST, reward, discount, observation, batch_shape)


def _time_step(
    step_type: Array,
    reward: Array,
    discount: Array,
    observation: Tree,
    batch_shape: tuple[int, ...],
) -> TimeStep:
    reward, discount = _as_float32(reward), _as_float32(discount)
    if batch_shape:
        step_type = np.full(batch_shape, step_type, np.int32)
        reward, discount = (
            x if np.shape(x) == batch_shape else x + np.zeros(batch_shape, np.float32)
            for x in (reward, discount)
        )
    return TimeStep(step_type, reward, discount, observation)


def _as_float32(value: Array) -> Array:
    if getattr(value, "dtype", None) == _FLOAT32:
        return value
    return value.astype(np.float32) if hasattr(value, "astype") else np.float32(value)
