"""QR-DQN by hand-worked numbers."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_agents import agents
from jax_agents.envs.specs import ArraySpec, DiscreteSpec, EnvironmentSpecs
from jax_agents.envs.types import Trajectory

SPECS = EnvironmentSpecs(ArraySpec((1,)), DiscreteSpec(2))


class DummyNet(nn.Module):
    """Two quantiles for each of two actions: (x, x + 1) and (2 x, 0)."""

    @nn.compact
    def __call__(self, observation):
        kernel, bias = (
            (lambda *_: jnp.array([[1.0, 1.0, 2.0, 0.0]])),
            (lambda *_: jnp.array([0.0, 1.0, 0.0, 0.0])),
        )
        return nn.Dense(4, kernel_init=kernel, bias_init=bias)(observation).reshape(
            *observation.shape[:-1], 2, 2
        )


def rows(observation, next_observation, action, reward, discount):
    column = lambda *x: np.array([x], np.float32)
    return Trajectory(
        step_type=np.array([[1, 1]], np.int32),
        observation=column(observation, next_observation)[..., None],
        action=np.array([[action, 0]], np.int32),
        policy_info=(),
        next_step_type=np.array([[1, 1]], np.int32),
        reward=column(reward, 0),
        discount=column(discount, 1),
    )


@pytest.mark.parametrize(
    ("huber_param", "expected"),
    [
        # Estimates (2, 3) at tau (1/4, 3/4); targets 1 + 0.5 (4, 5) = (3, 3.5), for at 4 action 0
        # has the mean 4.5 and action 1 the mean 4. Errors (1, 1.5) and (0, 0.5), all upwards,
        # weighted by tau.
        (0.0, 0.25 * (1 + 1.5) / 2 + 0.75 * (0 + 0.5) / 2),
        (1.0, 0.25 * (0.5 + 1.0) / 2 + 0.75 * (0 + 0.125) / 2),
        (0.5, 0.25 * (0.75 + 1.25) / 2 + 0.75 * (0 + 0.25) / 2),
    ],
)
def test_the_loss_by_hand(huber_param, expected):
    agent = agents.QrDqnAgent(SPECS, DummyNet(), optax.sgd(0.1), gamma=1.0, huber_param=huber_param)
    state = agent.init(jax.random.key(0))
    info = agent.loss(state.params, state, rows(2, 4, 0, 1, 0.5), jax.random.key(1))
    np.testing.assert_allclose(info.loss, expected, rtol=1e-6)
    np.testing.assert_allclose(info.per_example["td_error"], [expected], rtol=1e-6)
    np.testing.assert_allclose(info.metrics["q"], 2.5)


def test_errors_downwards_weigh_one_minus_tau():
    agent = agents.QrDqnAgent(SPECS, DummyNet(), optax.sgd(0.1), gamma=1.0, huber_param=0.0)
    state = agent.init(jax.random.key(0))
    # terminal, reward 0: errors -2 and -3
    info = agent.loss(state.params, state, rows(2, 4, 0, 0, 0), jax.random.key(1))
    np.testing.assert_allclose(info.loss, 0.75 * 2 + 0.25 * 3, rtol=1e-6)


def test_the_quantiles_of_a_random_reward_are_learned():
    """A reward of 0 or 1 with equal probability: of two quantiles, at 1/4 and 3/4, the lower tends
    to 0, the upper to 1.
    """
    agent = agents.QrDqnAgent(SPECS, DummyNet(), optax.sgd(0.05), huber_param=0.0)
    both = jax.tree.map(lambda *x: np.concatenate(x), rows(0, 0, 0, 0, 0), rows(0, 0, 0, 1, 0))

    @jax.jit
    def learn(state):
        return jax.lax.scan(lambda s, _: (agent.train(s, both)[0], None), state, length=200)[0]

    state = learn(agent.init(jax.random.key(0)))
    quantiles = DummyNet().apply(state.params["q"], jnp.zeros(1))
    np.testing.assert_allclose(quantiles[0], [0, 1], atol=0.05)
    np.testing.assert_array_equal(quantiles[1], [0, 0])
    np.testing.assert_allclose(
        agent.value(agent.policy_params(state), jnp.zeros(1)), 0.5, atol=0.05
    )
