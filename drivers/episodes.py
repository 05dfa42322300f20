"""Whole episodes of a JAX environment on device: to evaluate it, and as evolution's fitness."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..envs.host import reset_batch, step_batch
from ..envs.types import Array, Tree
from ..networks.normalizer import RunningStatistics, init_statistics, update_statistics
from ..policies.policy import Policy


class Episodes(NamedTuple):
    """Undiscounted `returns` (float32) and `lengths` in steps (int32) of episodes `[num_episodes]`.

    `statistics` are those of the observations that were acted on, or None.
    """

    returns: Array
    lengths: Array
    statistics: RunningStatistics | None


def play_episodes(
    env: Any,
    policy: Policy,
    params: Tree,
    key: Array,
    num_episodes: int,
    max_steps: int,
    *,
    statistics: bool = False,
) -> Episodes:
    """Plays the first episode of each of `num_episodes` environments, until all have ended or
    `max_steps` have been taken.

    Which episodes count is so fixed beforehand: a number of them, taken as they end, would favour
    short ones. An episode that lasts longer counts with what it has earned by then. A pure
    function: jit it, and vmap it over `params` and `key`.

    Args:
      env: a JAX environment.
      policy: what acts.
      params: what the policy needs.
      key: of resets and draws.
      num_episodes: how many environments.
      max_steps: the most steps of an episode.
      statistics: also gather those of the observations.

    Raises:
      ValueError: if a number is less than 1.
    """
    if num_episodes < 1 or max_steps < 1:
        raise ValueError(
            f"expected at least 1 episode and 1 step, got {num_episodes=}, {max_steps=}"
        )
    reset_key, act_key = jax.random.split(key)
    env_state, time_step = reset_batch(env, reset_key, num_episodes)
    running = jnp.ones(num_episodes, bool)
    seen = init_statistics(env.specs.observation) if statistics else None
    episodes = Episodes(
        jnp.zeros(num_episodes, jnp.float32), jnp.zeros(num_episodes, jnp.int32), seen
    )

    def unfinished(carry: tuple) -> Array:
        return (carry[0] < max_steps) & carry[-1].any()

    def step(carry: tuple) -> tuple:
        row, env_state, time_step, policy_state, episodes, running = carry
        decision = policy.action(params, time_step, policy_state, jax.random.fold_in(act_key, row))
        seen = episodes.statistics
        if seen is not None:
            seen = update_statistics(seen, time_step.observation, running.astype(jnp.float32))
        env_state, time_step = step_batch(env, env_state, decision.action, num_episodes)
        returns = episodes.returns + jnp.where(running, time_step.reward, 0).astype(jnp.float32)
        episodes = Episodes(returns, episodes.lengths + running, seen)
        return (
            row + 1,
            env_state,
            time_step,
            decision.state,
            episodes,
            running & ~time_step.is_last(),
        )

    carry = (
        jnp.int32(0),
        env_state,
        time_step,
        policy.initial_state((num_episodes,)),
        episodes,
        running,
    )
    return jax.lax.while_loop(unfinished, step, carry)[-2]
