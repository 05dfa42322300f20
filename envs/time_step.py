"""Makes the time steps of environments, on the host and on device.

All arguments but the observation have to be named: TF-Agents and dm_env order them differently.
The constants are NumPy's, so that host environments touch no device and traced code sees literals.
"""

import numpy as np

from .types import Array, StepType, TimeStep, Tree

_FLOAT32 = np.dtype(np.float32)


def restart(observation: Tree, *, batch_shape: tuple[int, ...] = ()) -> TimeStep:
    """Returns the FIRST time step of an episode, with reward 0 and discount 1.

    Args:
      observation: Observation with the leading axes `batch_shape`.
      batch_shape: Shape of the leading axes of every leaf.
    """
    return _time_step(StepType.FIRST, np.float32(0.0), np.float32(1.0), observation, batch_shape)


def transition(
    observation: Tree, *, reward: Array, discount: Array = 1.0, batch_shape: tuple[int, ...] = ()
) -> TimeStep:
    """Returns a MID time step.

    Args:
      observation: Observation with the leading axes `batch_shape`.
      reward: Reward, a scalar or `[*batch_shape]`; it becomes float32.
      discount: Discount, a scalar or `[*batch_shape]`; it becomes float32.
      batch_shape: Shape of the leading axes of every leaf.
    """
    return _time_step(StepType.MID, reward, discount, observation, batch_shape)


def termination(observation: Tree, *, reward: Array, batch_shape: tuple[int, ...] = ()) -> TimeStep:
    """Returns the LAST time step of an episode whose task ended.

    Its discount is 0, so that nothing after it has any value. The arguments are those of
    `transition`.
    """
    return _time_step(StepType.LAST, reward, np.float32(0.0), observation, batch_shape)


def truncation(
    observation: Tree, *, reward: Array, discount: Array = 1.0, batch_shape: tuple[int, ...] = ()
) -> TimeStep:
    """Returns the LAST time step of an episode that was cut off, by a time limit for example.

    Its discount is 1, so that its value is bootstrapped. The arguments are those of `transition`.
    """
    return _time_step(StepType.LAST, reward, discount, observation, batch_shape)


def _time_step(
    step_type: Array,
    reward: Array,
    discount: Array,
    observation: Tree,
    batch_shape: tuple[int, ...],
) -> TimeStep:
    if batch_shape:
        step_type = np.full(batch_shape, step_type, np.int32)
    return TimeStep(
        step_type, _as_float32(reward, batch_shape), _as_float32(discount, batch_shape), observation
    )


def _as_float32(value: Array, batch_shape: tuple[int, ...]) -> Array:
    if getattr(value, "dtype", None) != _FLOAT32:
        value = value.astype(np.float32) if hasattr(value, "astype") else np.float32(value)
    if batch_shape and np.shape(value) != batch_shape:
        value = value + np.zeros(batch_shape, np.float32)
    return value
