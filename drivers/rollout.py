"""The same step under `lax.scan`: rows of a JAX environment, made on device."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from ..envs.host import reset_batch, step_batch
from ..envs.types import Array, TimeStep, Trajectory, Tree, make_row
from ..policies.policy import Policy


@struct.dataclass
class RolloutState:
    """Where a rollout stands: leaves `[num_envs, ...]`, the acting key, and the number of the next row (int32)."""

    env_state: Any
    time_step: TimeStep
    policy_state: Tree
    key: Array
    row: Array


def start_rollout(env: Any, policy: Policy, reset_key: Array, key: Array, num_envs: int = 1) -> RolloutState:
    """Resets `num_envs` copies of a JAX environment with `reset_key`; `key` is the acting key, as a `Driver`'s."""
    env_state, time_step = reset_batch(env, reset_key, num_envs)
    return RolloutState(env_state, time_step, policy.initial_state((num_envs,)), key, jnp.zeros((), jnp.int32))


def rollout(env: Any, policy: Policy, params: Tree, state: RolloutState, num_rows: int) -> tuple[RolloutState, Trajectory]:
    """Makes `num_rows` rows in each environment, boundary rows counted.

    Draws what a `Driver` with the same keys and parameters draws.

    Returns:
      The state to continue from, and rows `[num_envs, num_rows, ...]`.
    """
    num_envs = state.time_step.step_type.shape[0]

    def one_row(state: RolloutState, _: None) -> tuple[RolloutState, Trajectory]:
        key = jax.random.fold_in(state.key, state.row)
        step = policy.action(params, state.time_step, state.policy_state, key)
        env_state, time_step = step_batch(env, state.env_state, step.action, num_envs)
        row = make_row(state.time_step, step, time_step)
        return RolloutState(env_state, time_step, step.state, state.key, state.row + 1), row

    if num_rows == 1:  # no loop to set up in the inner loop of an off-policy agent
        state, row = one_row(state, None)
        return state, jax.tree.map(lambda x: x[:, None], row)
    state, rows = jax.lax.scan(one_row, state, length=num_rows)
    return state, jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), rows)
