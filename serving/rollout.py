"""Episodes of an environment in which a policy server chooses the actions."""

from collections.abc import Callable

import jax
import numpy as np

from ..envs.environment import Environment
from .client import PolicyClient


def remote_returns(
    env: Environment,
    client: PolicyClient,
    num_episodes: int = 1,
    *,
    seed: int = 0,
    training_enabled: bool | None = None,
    on_episode: Callable[[int, float], None] | None = None,
) -> np.ndarray:
    """Plays episodes with the actions of a server; returns their returns, float64 `[num_episodes]`.

    Args:
      env: Unbatched host environment, with the observations that the server expects.
      client: Client of the server.
      num_episodes: Number of episodes.
      seed: Seed of the environment in the first episode, and one more in each after it, as in
        `Trainer.evaluate` for up to ten episodes.
      training_enabled: True to let the server learn, as in `PolicyClient.start_episode`.
      on_episode: Function called with the number and the return of each episode.

    Raises:
      ValueError: if the environment is batched, or `num_episodes` is less than 1.
      PolicyServerError: if the server refuses, because its agent is of another environment, say.
    """
    if env.num_envs is not None or num_episodes < 1:
        raise ValueError(
            f"expected an unbatched environment and at least 1 episode, got {env.num_envs=}, "
            f"{num_episodes=}"
        )
    returns = np.zeros(num_episodes)
    spec = env.specs.action
    for i in range(num_episodes):
        time_step = env.reset(seed + i)
        episode = client.start_episode(training_enabled)
        while not time_step.is_last():
            action = client.get_action(episode, time_step.observation)
            time_step = env.step(jax.tree.map(lambda s, a: np.asarray(a, s.dtype), spec, action))
            client.log_returns(episode, float(time_step.reward))
            returns[i] += float(time_step.reward)
        client.end_episode(episode, time_step.observation, truncated=bool(time_step.discount))
        if on_episode is not None:
            on_episode(i, returns[i])
    return returns
