"""One small agent for all tests of serving: compiled once for each test process."""

import jax
import optax
import pytest

from jax_agents import agents, drivers, envs, networks, policies
from jax_agents.envs import classic


@pytest.fixture(scope="session")
def dqn():
    """A DQN agent for CartPole, and its state."""
    specs = classic.CartPole().specs
    agent = agents.DqnAgent(
        specs, networks.QNetwork(2, hidden=(32,)), optax.adam(1e-3), epsilon=0.5
    )
    return agent, jax.jit(agent.init)(jax.random.key(0))


@pytest.fixture(scope="session")
def ppo():
    """A PPO agent for CartPole, and its state."""
    specs = classic.CartPole().specs
    network = networks.ActorValueNetwork(
        networks.ActorNetwork(specs.action, (16,)), networks.ValueNetwork((16,))
    )
    agent = agents.PpoAgent(specs, network, optax.adam(1e-3))
    return agent, jax.jit(agent.init)(jax.random.key(0))


@pytest.fixture(scope="session")
def rows():
    """300 rows of one stream of CartPole, of random actions."""
    env = envs.gym.make("CartPole-v1")
    rows = []
    policy = policies.RandomPolicy(env.specs.action)
    drivers.Driver(env, policy, [rows.append], key=jax.random.key(0), seed=0).run(num_rows=300)
    return rows
