"""Episodes of an environment with the actions of a server, checked on a server of one process."""

import numpy as np
import pytest

from jax_agents import envs, evaluation
from jax_agents.serving import PolicyClient, PolicyService, serve_in_background
from jax_agents.serving.rollout import remote_returns


def test_returns_are_those_of_the_policy_in_this_process(dqn):
    agent, state = dqn
    expected = [
        evaluation.compute_returns(
            envs.gym.make("CartPole-v1"), agent.policy, 1, agent.policy_params(state), seed=seed
        )[0]
        for seed in (5, 6)
    ]
    seen = []
    with serve_in_background(PolicyService(agent, state)) as address:
        returns = remote_returns(
            envs.gym.make("CartPole-v1"),
            PolicyClient(address),
            2,
            seed=5,
            on_episode=lambda number, value: seen.append((number, value)),
        )
    assert returns.dtype == np.float64
    np.testing.assert_array_equal(returns, expected)
    assert seen == list(enumerate(expected))


@pytest.mark.parametrize(("num_envs", "num_episodes"), [(2, 1), (None, 0)])
def test_what_cannot_be_played(num_envs, num_episodes):
    env = envs.gym.make("CartPole-v1", num_envs=num_envs)
    with pytest.raises(ValueError, match="unbatched environment and at least 1 episode"):
        remote_returns(env, PolicyClient("http://127.0.0.1:1"), num_episodes)
