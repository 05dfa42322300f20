"""The same step under `lax.scan`: rows of a JAX environment, made on device."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from ..envs.host import reset_batch, step_batch
from ..envs.types import Array, TimeStep, Trajectory, Tree, make_row
from ..policies.policy import Policy


@struct.dataclass
class RolloutState:
    """Where a rollout is: leaves `[num_envs, ...]`, acting key, the next row's number (int32)."""

    env_state: Any
    time_step: TimeStep
    policy_state: Tree
    key: Array
    row: Array


def start_rollout(
    env: Any, policy: Policy, reset_key: Array, key: Array, num_envs: int = 1
) -> RolloutState:
    """Resets `num_envs` copies of a JAX environment with `reset_key`; `key` is for acting."""
    env_state, time_step = reset_batch(env, reset_key, num_envs)
    return RolloutState(
        env_state, time_step, policy.initial_state((num_envs,)), key, jnp.zeros((), jnp.int32)
    )


def rollout(
    env: Any, policy: Policy, params: Tree, state: RolloutState, num_rows: int
) -> tuple[RolloutState, Trajectory]:
    """Makes `num_rows` rows in each environment, boundary rows counted.

    Draws what a `Driver` with the same keys and parameters draws.

    Returns:
      The state to continue from, and rows `[num_envs, num_rows, ...]`.
    """
    num_envs = state.time_step.step_type.shape[0]

    def one_row(carry: tuple, key: Array) -> tuple[tuple, Trajectory]:
        env_state, time_step, policy_state = carry
        step = policy.action(params, time_step, policy_state, key)
        env_state, next_time_step = step_batch(env, env_state, step.action, num_envs)
        return (env_state, next_time_step, step.state), make_row(time_step, step, next_time_step)

    carry = (state.env_state, state.time_step, state.policy_state)
    if num_rows == 1:  # no loop to set up in the inner loop of an off-policy agent
        carry, row = one_row(carry, jax.random.fold_in(state.key, state.row))
        rows = jax.tree.map(lambda x: x[:, None], row)
    else:  # all keys at once: a scan step costs by its number of operations, not by their size
        keys = jax.vmap(partial(jax.random.fold_in, state.key))(state.row + jnp.arange(num_rows))
        carry, rows = jax.lax.scan(one_row, carry, keys)
        rows = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), rows)
    return RolloutState(*carry, state.key, state.row + num_rows), rows
