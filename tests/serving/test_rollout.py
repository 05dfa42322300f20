"""Episodes in which a server chooses the actions."""

import pytest

from jax_agents import envs
from jax_agents.serving.rollout import remote_returns


def test_continuous_actions_and_several_episodes():
    """The client's side by itself: dtypes, resets and truncation, against a client that only takes
    notes.
    """
    notes = []

    class Client:
        def start_episode(self, training_enabled):
            notes.append(("start", training_enabled))
            return str(len(notes))

        def get_action(self, episode, observation):
            return [0.5]

        def log_returns(self, episode, reward):
            pass

        def end_episode(self, episode, observation, truncated):
            notes.append(("end", truncated))

    env = envs.gym.make("Pendulum-v1", max_episode_steps=5)
    seen = []
    returns = remote_returns(env, Client(), 2, on_episode=lambda i, r: seen.append((i, r)))
    assert returns.shape == (2,) and (returns < 0).all() and [i for i, _ in seen] == [0, 1]
    assert notes == [("start", None), ("end", True)] * 2
    with pytest.raises(ValueError, match="unbatched environment and at least 1 episode"):
        remote_returns(env, Client(), 0)
