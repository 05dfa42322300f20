"""Rows of a JAX environment, made on device by a scan."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from ..envs.checks import check_at_least, check_specs, check_time_step
from ..envs.environment import JaxEnvironment, check_jax_environment
from ..envs.host import reset_batch, step_batch
from ..envs.specs import validate
from ..envs.types import Array, TimeStep, Trajectory, Tree, make_row
from ..policies.policy import Policy, check_pure


@struct.dataclass
class RolloutState:
    """The state of a rollout.

    Attributes:
      env_state: States of the environments, leaves `[num_envs, ...]`.
      time_step: Time steps to act on, `[num_envs, ...]`.
      policy_state: Recurrent state of the policy, `[num_envs, ...]`.
      key: Typed key of the policy's draws.
      row: Number of the next row, int32.
    """

    env_state: Any
    time_step: TimeStep
    policy_state: Tree
    key: Array
    row: Array


def start_rollout(
    env: JaxEnvironment, policy: Policy, reset_key: Array, key: Array, num_envs: int = 1
) -> RolloutState:
    """Resets `num_envs` copies of a JAX environment.

    Args:
      env: JAX environment.
      policy: Policy that will act, a pure one.
      reset_key: Typed random key of the resets.
      key: Typed random key of the actions, as a `Driver`'s.
      num_envs: Number of copies.

    Raises:
      TypeError: if the policy is plain Python, or the environment is not in JAX.
      SpecError: if the environment's specs are not in order, or its time steps do not meet them.
      ValueError: if num_envs < 1.
    """
    check_jax_environment(env)
    check_pure(policy)
    check_at_least("start_rollout", 1, {"num_envs": num_envs})
    check_specs(env.specs)
    env_state, time_step = reset_batch(env, reset_key, num_envs)
    check_time_step(time_step, env.specs, (num_envs,), "reset")
    return RolloutState(
        env_state, time_step, policy.initial_state((num_envs,)), key, jnp.zeros((), jnp.int32)
    )


def rollout(
    env: JaxEnvironment, policy: Policy, params: Tree, state: RolloutState, num_rows: int
) -> tuple[RolloutState, Trajectory]:
    """Makes `num_rows` rows in each environment, boundary rows counted.

    It draws the same numbers as a `Driver` with the same keys and parameters.

    Args:
      env: JAX environment.
      policy: Policy that acts.
      params: Parameters of the policy.
      state: State to continue from.
      num_rows: Number of rows.

    Returns:
      The state to continue from, and rows `[num_envs, num_rows, ...]`.

    Raises:
      TypeError: if the environment is not in JAX, or the state not from `start_rollout`.
      SpecError: if an action or a time step does not meet its spec.
      ValueError: if num_rows < 1.
    """
    check_jax_environment(env)
    check_at_least("rollout", 1, {"num_rows": num_rows})
    if not isinstance(state, RolloutState):
        raise TypeError(
            f"state: expected a RolloutState from start_rollout, got {type(state).__name__}"
        )
    num_envs = state.time_step.step_type.shape[0]

    def one_row(carry: tuple, key: Array) -> tuple[tuple, Trajectory]:
        env_state, time_step, policy_state = carry
        step = policy.action(params, time_step, policy_state, key)
        validate({"action": step.action}, {"action": env.specs.action}, batch_ndim=1)
        env_state, next_time_step = step_batch(env, env_state, step.action, num_envs)
        check_time_step(next_time_step, env.specs, (num_envs,), "step")
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
