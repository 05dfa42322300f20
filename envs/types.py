"""The records that travel between environments, policies, replay and agents.

All of them are `NamedTuple`s of arrays, hence JAX pytrees. Row t of a stream is the `Trajectory`
(step_type_t, o_t, a_t, policy_info_t, next_step_type_t, r_{t+1}, discount_{t+1}): the observation
that followed is the next row's observation. A row whose `step_type` is LAST carries an episode's
true final observation; its action, reward and discount belong to the reset that follows it, so
every loss masks it.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Array = Any  # a NumPy or JAX array; shapes are in the docstrings
Tree = Any  # a pytree of arrays

ACTION_MASK = "action_mask"


class StepType:
    """The place of a time step in its episode, int32: the first, one in the middle, or the last."""

    FIRST = np.int32(0)
    MID = np.int32(1)
    LAST = np.int32(2)


class TimeStep(NamedTuple):
    """The answer of an environment, unbatched or with a leading `[n]` axis on every leaf.

    `reward` is the reward of the step into this observation. `discount` is 0 where the task
    terminated and 1 elsewhere, a time limit included. After a LAST time step, the next call of
    `step` resets and returns a FIRST one.
    """

    step_type: Array
    reward: Array
    discount: Array
    observation: Tree

    def is_first(self) -> Array:
        """True where an episode begins."""
        return self.step_type == StepType.FIRST

    def is_mid(self) -> Array:
        """True between the first and the last time step of an episode."""
        return self.step_type == StepType.MID

    def is_last(self) -> Array:
        """True where an episode ends."""
        return self.step_type == StepType.LAST


class PolicyStep(NamedTuple):
    """The answer of a policy.

    `action` is `[...]`, `state` is the recurrent state for the next call, and `info` is a dict of
    arrays to store with the row.
    """

    action: Tree
    state: Tree = ()
    info: Any = ()


class Trajectory(NamedTuple):
    """One row, or with leading axes `[B, T]` a batch of B windows of T consecutive rows.

    The module's docstring says what a row consists of.
    """

    step_type: Array
    observation: Tree
    action: Tree
    policy_info: Any
    next_step_type: Array
    reward: Array
    discount: Array

    def is_last(self) -> Array:
        """True on boundary rows (LAST -> FIRST), which no loss may learn from."""
        return self.step_type == StepType.LAST


class Transition(NamedTuple):
    """A window reduced to one transition of one or several steps, `[B, ...]`.

    `discount` is gamma^k times the environment's discounts over the k steps.
    """

    observation: Tree
    action: Tree
    reward: Array
    discount: Array
    next_observation: Tree
    mask: Array  # 1.0, or 0.0 where the window starts on a boundary row


class SampleInfo(NamedTuple):
    """The records of a replay buffer on each sampled item, `[B]`.

    `key` is uint64 and stays on the host.
    """

    key: Array
    probability: Array
    table_size: Array
    priority: Array
    times_sampled: Array


class Sample(NamedTuple):
    """One batch of a replay dataset; `experience` is a `Trajectory` `[B, T, ...]`."""

    experience: Trajectory
    info: SampleInfo


def make_row(time_step: TimeStep, policy_step: PolicyStep, next_time_step: TimeStep) -> Trajectory:
    """Joins a time step, the action taken there and the next time step into a row."""
    return Trajectory(
        step_type=time_step.step_type,
        observation=time_step.observation,
        action=policy_step.action,
        policy_info=policy_step.info,
        next_step_type=next_time_step.step_type,
        reward=next_time_step.reward,
        discount=next_time_step.discount,
    )


def bootstrap_row(time_step: TimeStep, row: Trajectory) -> Trajectory:
    """Returns row T of an on-policy segment, of which only the observation is read.

    Args:
      time_step: Time step that gives the step type and the observation; all else is zero.
      row: Any row of the stream, for shapes and dtypes.
    """
    zeros = jax.tree.map(lambda x: (jnp if isinstance(x, jax.Array) else np).zeros_like(x), row)
    return zeros._replace(step_type=time_step.step_type, observation=time_step.observation)


def add_axes(x: Array, ndim: int) -> Array:
    """Returns an array with axes of length 1 before its own, `ndim` in all.

    So what belongs to one example is broadcast over a batch explicitly, as
    `jax_numpy_rank_promotion="raise"` wants it. Where there are `ndim` axes or more, nothing is
    added.
    """
    x = x if hasattr(x, "ndim") else np.asarray(x)
    return x.reshape((1,) * (ndim - x.ndim) + x.shape)


def split_action_mask(observation: Tree) -> tuple[Tree, Array | None]:
    """Splits an observation into the part that networks see and its action mask.

    A dict with the key `"action_mask"` is split; any other observation gets the mask None. The mask
    is boolean `[..., num_actions]` (for multi-discrete actions, the factors' masks
    concatenated), True where an action is allowed. What remains is unwrapped if its only key is
    `"observation"`, the usual form in gymnasium.
    """
    if not isinstance(observation, dict) or ACTION_MASK not in observation:
        return observation, None
    rest = {name: leaf for name, leaf in observation.items() if name != ACTION_MASK}
    if set(rest) == {"observation"}:
        return rest["observation"], observation[ACTION_MASK]
    return rest, observation[ACTION_MASK]


def join_action_mask(observation: Tree, mask: Array | None) -> Tree:
    """Puts an action mask back to an observation without one; None leaves it without.

    It is the inverse of `split_action_mask`, for networks that pass features on to others.
    """
    if mask is None:
        return observation
    return {"observation": observation, ACTION_MASK: jnp.asarray(mask)}
