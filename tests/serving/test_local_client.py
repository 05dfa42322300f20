"""The client that acts itself: what it reports, and what it refuses."""

import jax
import numpy as np
import pytest

from jax_agents import envs
from jax_agents.serving import (
    LocalPolicyClient,
    OnPolicyLearning,
    PolicyService,
    serve_in_background,
)
from jax_agents.serving.rollout import remote_returns


@pytest.fixture(scope="module")
def address(dqn):
    """A server that does not learn."""
    with serve_in_background(PolicyService(*dqn, max_batch_size=4)) as address:
        yield address


def test_local_inference_of_an_on_policy_agent_sends_log_probabilities(ppo):
    agent, state = ppo
    learning = OnPolicyLearning(
        agent,
        state,
        num_segments=1,
        num_rows=8,
        num_epochs=1,
        num_minibatches=1,
        key=jax.random.key(0),
    )
    env = envs.gym.make("CartPole-v1")
    with serve_in_background(PolicyService(agent, learning=learning, max_batch_size=1)) as address:
        client = LocalPolicyClient(address, agent, log_every=3)
        remote_returns(env, client, seed=0)
        remote_returns(env, client, seed=1)
        health = client.health()
    assert learning.num_updates >= 1 and health["learning"]


def test_another_agents_parameters(ppo, address):
    client = LocalPolicyClient(address, ppo[0])
    with pytest.raises(ValueError, match="not those of this client's agent: params/actor_value"):
        client.get_action(client.start_episode(), np.zeros(4))


def test_actions_are_reported_in_batches(dqn, address):
    client = LocalPolicyClient(address, dqn[0], log_every=3)
    before = client.health()["version"]
    episode = client.start_episode()
    for _ in range(5):
        action = client.get_action(episode, np.zeros(4))
        assert action.shape == () and action.dtype == np.int32
    client.log_action(episode, np.zeros(4), 1)
    client.end_episode(episode, np.zeros(4))
    assert client.health()["version"] == before  # it does not learn


@pytest.mark.parametrize("numbers", [{"log_every": 0}, {"update_interval": 0.0}])
def test_numbers_out_of_range(dqn, numbers):
    with pytest.raises(ValueError, match="expected log_every >= 1 and update_interval > 0"):
        LocalPolicyClient("http://127.0.0.1:1", dqn[0], **numbers)
