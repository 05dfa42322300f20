"""Whole episodes of a JAX environment, played on device."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ..envs.checks import check_specs, check_time_step
from ..envs.environment import JaxEnvironment, check_jax_environment
from ..envs.host import reset_batch, step_batch
from ..envs.specs import validate
from ..envs.types import Array, Tree
from ..networks.normalizer import RunningStatistics, init_statistics, update_statistics
from ..policies.policy import Policy, check_pure


class Episodes(NamedTuple):
    """The results of episodes.

    Attributes:
      returns: Undiscounted returns, float32 `[num_episodes]`.
      lengths: Lengths in steps, int32 `[num_episodes]`.
      statistics: Statistics of the observations that were acted on, or None.
    """

    returns: Array
    lengths: Array
    statistics: RunningStatistics | None


def play_episodes(
    env: JaxEnvironment,
    policy: Policy,
    params: Tree,
    key: Array,
    num_episodes: int,
    max_steps: int,
    *,
    statistics: bool = False,
) -> Episodes:
    """Plays the first episode of each of `num_episodes` environments.

    The episodes that count are so fixed beforehand: a number of them, taken as they end, would
    favour short ones. An episode that lasts longer than `max_steps` counts with what it has earned
    by then. It serves to evaluate a policy, and as the fitness of evolution. A pure function: jit
    it, and vmap it over `params` and `key`.

    Args:
      env: JAX environment.
      policy: Policy that acts.
      params: Parameters of the policy.
      key: Typed key of resets and draws.
      num_episodes: Number of environments.
      max_steps: Greatest number of steps of an episode.
      statistics: Gather statistics of the observations, too.

    Raises:
      TypeError: if the policy is plain Python, or the environment is not in JAX.
      ValueError: if a number is less than 1.
      SpecError: if the environment's specs are not in order, or its time steps or the actions do
        not meet them.
    """
    check_jax_environment(env)
    check_pure(policy)
    if num_episodes < 1 or max_steps < 1:
        raise ValueError(
            f"expected at least 1 episode and 1 step, got {num_episodes=}, {max_steps=}"
        )
    check_specs(env.specs)
    reset_key, act_key = jax.random.split(key)
    env_state, time_step = reset_batch(env, reset_key, num_episodes)
    check_time_step(time_step, env.specs, (num_episodes,), "reset")
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
        validate({"action": decision.action}, {"action": env.specs.action}, batch_ndim=1)
        env_state, time_step = step_batch(env, env_state, decision.action, num_episodes)
        check_time_step(time_step, env.specs, (num_episodes,), "step")
        returns = episodes.returns + jnp.where(running, time_step.reward, 0).astype(jnp.float32)
        episodes = Episodes(returns, episodes.lengths + running, seen)
        running &= ~time_step.is_last()
        return row + 1, env_state, time_step, decision.state, episodes, running

    policy_state = policy.initial_state((num_episodes,))
    carry = (jnp.int32(0), env_state, time_step, policy_state, episodes, running)
    return jax.lax.while_loop(unfinished, step, carry)[-2]
