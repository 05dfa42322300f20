"""The return of a policy: over whole episodes of a host environment, or purely on device."""

from collections.abc import Iterator

import jax
import numpy as np

from ..drivers.episodes import play_episodes
from ..envs import specs as specs_lib
from ..envs.environment import Environment, JaxEnvironment
from ..envs.types import Array, TimeStep, Tree
from ..policies.policy import Policy, act, check_acting, mismatch


class EndlessEpisode(RuntimeError):
    """An episode of an evaluation did not end in time."""


def compute_avg_return(
    env: Environment,
    policy: Policy,
    num_episodes: int = 10,
    params: Tree = None,
    *,
    seed: int = 0,
    max_steps: int = 100_000,
) -> float:
    """Returns the mean undiscounted return of a policy: the mean of `compute_returns`.

    Args:
      env: Host environment, unbatched or batched; it is reset first.
      policy: Policy to evaluate.
      num_episodes: Number of episodes.
      params: Parameters of the policy, `agent.policy_params(state)`; None if it has none.
      seed: Seed of the environment and of the policy's draws.
      max_steps: Greatest number of steps in an episode.

    Raises:
      TypeError, ValueError, EndlessEpisode: as `compute_returns`.
    """
    return float(
        compute_returns(env, policy, num_episodes, params, seed=seed, max_steps=max_steps).mean()
    )


def compute_returns(
    env: Environment,
    policy: Policy,
    num_episodes: int = 10,
    params: Tree = None,
    *,
    seed: int = 0,
    max_steps: int = 100_000,
) -> np.ndarray:
    """Plays whole episodes and returns their undiscounted returns, float64 `[num_episodes]`.

    With n environments in parallel, the number of episodes of each is fixed beforehand: the first
    to finish would be the short ones, and their mean would be biased. Returns come in order: the
    first episode of every environment, then the second.

    Args:
      env: Host environment, unbatched or of n environments; it is reset, with `seed`, first.
      policy: Policy to evaluate, such as `agent.policy`. A pure policy is compiled once.
      num_episodes: Number of episodes.
      params: Parameters of the policy, `agent.policy_params(state)`; None if it has none.
      seed: Seed of the environment and of the policy's draws: the same seed gives the same
        episodes.
      max_steps: Greatest number of steps in an episode.

    Raises:
      TypeError: if `env` or `policy` is something else.
      ValueError: if `num_episodes` is less than 1, or the policy does not fit the environment.
      EndlessEpisode: if an episode takes more than `max_steps` steps.
    """
    if num_episodes < 1:
        raise ValueError(f"num_episodes: expected at least 1, got {num_episodes}")
    check_acting(env, policy)
    num_envs = env.num_envs or 1
    wanted = np.bincount(np.arange(num_episodes) % num_envs, minlength=num_envs)
    returns: list[list[float]] = [[] for _ in range(num_envs)]
    total = np.zeros(num_envs)
    length = np.zeros(num_envs, np.int64)
    finished = np.zeros(num_envs, np.int64)
    for time_step in play(env, policy, params, seed):
        # A FIRST time step answers no action of its episode, so its reward counts nowhere.
        first, last = (np.atleast_1d(flag) for flag in (time_step.is_first(), time_step.is_last()))
        total = np.where(first, 0, total + time_step.reward)
        length = np.where(first, 0, length + 1)
        counted = last & (finished < wanted)
        for i in np.flatnonzero(counted):
            returns[i].append(float(total[i]))
        finished += counted
        if (finished >= wanted).all():
            break
        check_length(length[~last & (finished < wanted)], max_steps)
    return np.array([returns[k % num_envs][k // num_envs] for k in range(num_episodes)])


def evaluate_on_device(
    env: JaxEnvironment,
    policy: Policy,
    params: Tree,
    key: Array,
    num_episodes: int = 10,
    max_steps: int = 10_000,
) -> Array:
    """Returns the undiscounted return of the first episode of each environment.

    A pure function: jit it with `env`, `policy` and the two numbers static, and vmap it over
    `params` and `key`. An episode that lasts longer than `max_steps` counts with what it has earned
    by then.

        evaluate = jax.jit(evaluate_on_device, static_argnums=(0, 1, 4, 5))
        evaluate(env, agent.policy, agent.policy_params(state), key)

    Args:
      env: JAX environment.
      policy: Pure policy to evaluate.
      params: Parameters of the policy.
      key: Typed random key of the environments and the policy.
      num_episodes: Number of environments, each of which plays one episode.
      max_steps: Greatest number of steps in an episode.

    Returns:
      Returns, float32 `[num_episodes]`.

    Raises:
      TypeError: if the policy is plain Python.
      ValueError: if a number is less than 1.
    """
    return play_episodes(env, policy, params, key, num_episodes, max_steps).returns


def play(env: Environment, policy: Policy, params: Tree, seed: int) -> Iterator[TimeStep]:
    """Yields time steps of a policy in a host environment without end.

    Args:
      env: Host environment; the first time step is the one of `env.reset(seed)`.
      policy: Policy that acts.
      params: Parameters of the policy.
      seed: Seed of the environment and of the policy's draws.

    Raises:
      ValueError: if the policy does not fit the environment, at the first action.
    """
    batch_shape = () if env.num_envs is None else (env.num_envs,)
    key = jax.random.key(seed)
    state = policy.initial_state(batch_shape)
    row = 0
    time_step = env.reset(seed=seed)
    yield time_step
    while True:
        try:
            action, state, _ = act(policy, params, time_step, state, key, np.int32(row))
            action = jax.device_get(action)
            if row == 0:
                specs_lib.validate(action, env.specs.action, batch_ndim=len(batch_shape))
        except Exception as error:
            if row > 0:
                raise
            raise ValueError(mismatch(env, policy, params, error)) from error
        time_step = env.step(action)
        row += 1
        yield time_step


def check_length(length: np.ndarray, max_steps: int) -> None:
    """Checks that episodes are not too long yet.

    Args:
      length: Numbers of steps, of any shape.
      max_steps: Greatest number of steps in an episode.

    Raises:
      EndlessEpisode: if an episode has taken `max_steps` steps.
    """
    if length.size and length.max() >= max_steps:
        raise EndlessEpisode(
            f"an episode has not ended within max_steps={max_steps} steps; "
            "give the environment a time limit (envs.gym.make(..., max_episode_steps=1000); "
            "by name, the setting max_episode_steps), or pass a larger max_steps"
        )
