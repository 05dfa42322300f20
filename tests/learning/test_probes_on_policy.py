"""Every on-policy agent on every probe environment: values and best actions within 0.1, actions discrete and continuous."""

import jax
import numpy as np
import optax
import pytest
from jax_agents.agents import A2cAgent, ImpalaAgent, PpoAgent, ReinforceAgent
from jax_agents.envs import probes
from jax_agents.envs.types import StepType, TimeStep
from jax_agents.learners import OnPolicy
from jax_agents.networks import ActorNetwork, ActorValueNetwork, ValueNetwork

GAMMA = 0.9


@pytest.mark.learning
@pytest.mark.parametrize("kind", [PpoAgent, A2cAgent, ReinforceAgent, ImpalaAgent])
@pytest.mark.parametrize("env", [*probes.all_probes(), probes.OneState()], ids=lambda env: type(env).__name__)
@pytest.mark.parametrize("continuous", [False, True], ids=["discrete", "continuous"])
def test_probe(kind, env, continuous):
    env = type(env)(continuous=continuous)
    network = ActorValueNetwork(ActorNetwork(env.specs.action, hidden=(32,)), ValueNetwork(hidden=(32,)))
    learning_rate = optax.linear_schedule(1e-2, 0.0, 2_000)
    agent = kind(env.specs, network, optax.adam(learning_rate), gamma=GAMMA)
    loop = OnPolicy(agent, env, num_envs=32, num_rows=16, num_epochs=1, num_minibatches=1)
    state = jax.jit(lambda key: loop.run(loop.init(key), 2_000)[0])(jax.random.key(0))
    params = agent.policy_params(state.train)
    observations, values = env.expected_values(GAMMA)
    best = env.best_actions()
    if best is None:
        np.testing.assert_allclose(agent.value(params, observations), values, atol=0.1)
        return
    k = len(observations)
    time_step = TimeStep(np.full(k, StepType.FIRST), np.zeros(k, np.float32), np.ones(k, np.float32), observations)
    np.testing.assert_allclose(agent.policy.action(params, time_step).action, best, atol=0.1)
