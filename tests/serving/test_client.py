"""The client against a server at the loopback address: remote and local inference, and a policy
that learns from it.
"""

import socket
import subprocess
import sys

import gymnasium
import jax
import numpy as np
import optax
import pytest

from jax_agents import agents, envs, evaluation, networks, replay
from jax_agents.serving import (
    LocalPolicyClient,
    OnPolicyLearning,
    PolicyClient,
    PolicyServerError,
    PolicyService,
    ReplayLearning,
    serve_in_background,
)


@pytest.fixture(scope="module")
def address(dqn):
    """A server that does not learn."""
    with serve_in_background(PolicyService(*dqn, max_batch_size=4)) as address:
        yield address


def play(client, seed, **start):
    """One episode of CartPole: the actions, and its return."""
    env = gymnasium.make("CartPole-v1")
    episode = client.start_episode(**start)
    observation, _ = env.reset(seed=seed)
    actions, total, ended = [], 0.0, False
    while not ended:
        actions.append(client.get_action(episode, observation))
        observation, reward, terminated, truncated, _ = env.step(actions[-1])
        client.log_returns(episode, reward)
        total, ended = total + reward, terminated or truncated
    client.end_episode(episode, observation, truncated=truncated)
    return [int(a) for a in actions], total


def test_remote_and_local_inference_act_as_evaluation_does(dqn, address):
    agent, state = dqn
    remote = PolicyClient(address)
    local = LocalPolicyClient(address, agent, log_every=5)
    expected = evaluation.compute_returns(
        envs.gym.make("CartPole-v1"), agent.policy, 1, agent.policy_params(state), seed=3
    )
    actions, total = play(remote, seed=3)
    assert play(local, seed=3) == (actions, total) and total == expected[0]
    health = remote.health()
    assert health["episodes_finished"] == 2 and health["return_mean"] == total  # local ones too
    assert health["num_steps"] == 2 * len(actions) and health["episodes_open"] == 0
    assert isinstance(remote.get_action(remote.start_episode(), np.zeros(4)), int)
    assert remote.specs()["observation"] == "float32[4]"


@pytest.mark.parametrize("inference", ["remote", "local"])
def test_a_dqn_learns_from_its_clients(dqn, inference):
    agent, state = dqn
    buffer = replay.HostReplay(agent.collect_data_spec, capacity=1000)
    learning = ReplayLearning(
        agent, state, buffer, batch_size=8, updates_per_step=0.5, warmup_steps=10
    )
    service = PolicyService(agent, learning=learning, max_batch_size=1)
    with serve_in_background(service) as address:
        client = PolicyClient(address)
        if inference == "local":
            client = LocalPolicyClient(address, agent, log_every=4)
        steps = sum(len(play(client, seed)[0]) for seed in range(4))
        episode = client.start_episode()
        client.log_action(episode, np.zeros(4), 1)
        client.log_returns(episode, 2.5)
        client.end_episode(episode, np.ones(4), truncated=True)
        version, arrays = client.get_parameters()
        assert (
            version == 0
            or client.get_parameters(newer_than=version)[1] is None
            or client.health()["version"] > version
        )
    assert learning.num_steps == steps + 1 and len(buffer) == steps + 1 + 5
    assert 0 < learning.num_updates <= (steps + 1) / 2
    rows = next(buffer.as_dataset(400)).experience
    assert 2.5 in rows.reward and "params/q/params/Dense_0/kernel" in arrays


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
    with serve_in_background(PolicyService(agent, learning=learning, max_batch_size=1)) as address:
        client = LocalPolicyClient(address, agent, log_every=3)
        play(client, seed=0)
        play(client, seed=1)
        health = client.health()
    assert learning.num_updates >= 1 and health["learning"]


def test_errors_say_what_the_server_said(address):
    client = PolicyClient(address)
    with pytest.raises(
        PolicyServerError,
        match=r"observation: expected float32\[4\], got an array, float64\[3\] \(HTTP 422\)",
    ):
        client.get_action(client.start_episode(), np.zeros(3))
    with pytest.raises(PolicyServerError, match="no episode 'x' is open") as caught:
        client.get_action("x", np.zeros(4))
    assert caught.value.status == 404
    with pytest.raises(PolicyServerError, match="does not learn"):
        client.start_episode(training_enabled=True)
    with pytest.raises(ValueError, match="NaN or infinity"):
        client.get_action(client.start_episode(), np.full(4, np.nan))
    assert client.health()["status"] == "serving"  # the connection is still good


def test_where_no_server_is_and_then_is_one(dqn):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    client = PolicyClient(f"http://127.0.0.1:{port}")
    for _ in range(2):
        with pytest.raises(
            ConnectionRefusedError,
            match=rf"jax-agents serve RUN starts one: 'http://127.0.0.1:{port}'",
        ):
            client.health()
    with serve_in_background(PolicyService(*dqn, max_batch_size=1), port=port):
        assert client.health()["status"] == "serving"


def test_a_connection_that_was_closed_is_opened_again(address):
    client = PolicyClient(address)
    client.health()
    client.close()
    assert client.health()["status"] == "serving"


def test_an_address_that_is_none():
    with pytest.raises(ValueError, match="address: expected one such as http"):
        PolicyClient("127.0.0.1:8000")


def test_another_agents_parameters(ppo, address):
    client = LocalPolicyClient(address, ppo[0])
    with pytest.raises(ValueError, match="not those of this client's agent: params/actor_value"):
        client.get_action(client.start_episode(), np.zeros(4))


def test_remote_clients_need_neither_jax_nor_the_rest():
    program = """
import sys
from jax_agents.serving import PolicyClient
PolicyClient("http://127.0.0.1:1").close()
heavy = {"jax", "flax", "optax", "fastapi", "uvicorn", "pydantic"}
sys.exit(", ".join(sorted(heavy & set(sys.modules))) or 0)
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.nightly
def test_a_served_dqn_learns_cartpole():
    """A client with local inference plays 20,000 steps; a random policy keeps the pole up for about
    22.

    Threads take turns as they like, so no two runs are the same; the last ones reached 122 and 123.
    """
    specs = envs.gym.make("CartPole-v1").specs
    network, epsilon = (
        networks.QNetwork(2, hidden=(120, 84)),
        optax.linear_schedule(1.0, 0.05, 6_000),
    )
    agent = agents.DqnAgent(
        specs, network, optax.adam(5e-4), epsilon=epsilon, target_update=agents.periodic(500)
    )
    buffer = replay.HostReplay(agent.collect_data_spec, capacity=20_000)
    learning = ReplayLearning(
        agent, agent.init(jax.random.key(0)), buffer, batch_size=128, updates_per_step=1.0
    )
    with serve_in_background(PolicyService(agent, learning=learning, max_batch_size=1)) as address:
        client, seed = LocalPolicyClient(address, agent, log_every=8), 0
        while client.health()["num_steps"] < 20_000:
            play(client, seed)
            seed += 1
        greedy = [play(client, 10_000 + i, training_enabled=False)[1] for i in range(10)]
    print(f"greedy returns after {learning.num_updates} updates: {greedy}")
    assert np.mean(greedy) > 60
