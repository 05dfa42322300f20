"""Experts that are written by hand: they are experts, and policies as others are."""

import jax
import jax.numpy as jnp
import numpy as np

from jax_agents.envs import restart
from jax_agents.envs.classic import CartPole, Pendulum
from jax_agents.evaluation.returns import evaluate_on_device
from jax_agents.experiments.data.controllers import (
    CONTROLLERS,
    Controller,
    balance_pole,
    swing_up,
)


def test_the_pole_is_balanced_to_the_end():
    policy = Controller(CONTROLLERS[CartPole])
    returns = evaluate_on_device(CartPole(), policy, (), jax.random.key(0), 20)
    assert returns.min() == 500


def test_the_pendulum_is_swung_up_from_anywhere():
    policy = Controller(CONTROLLERS[Pendulum])
    returns = np.asarray(evaluate_on_device(Pendulum(), policy, (), jax.random.key(0), 50))
    assert returns.mean() > -250  # random torques: about -1200
    assert returns.min() > -600


def test_a_cart_is_pushed_to_where_its_pole_leans():
    observations = jnp.zeros((2, 3, 4)).at[0, :, 2].set(0.1).at[1, :, 2].set(-0.1)
    actions = balance_pole(observations)
    assert actions.dtype == jnp.int32
    assert actions.tolist() == [[1, 1, 1], [0, 0, 0]]


def test_a_pendulum_that_stands_is_left_alone_and_one_that_turns_slowly_is_driven():
    upright, hanging = [1.0, 0.0, 0.0], [-1.0, 0.0, 1.0]
    torques = swing_up(jnp.array([upright, hanging]))
    assert torques.shape == (2, 1)
    assert torques.ravel().tolist() == [0.0, 2.0]


def test_a_controller_is_a_policy_without_memory():
    policy = Controller(balance_pole)
    assert policy.initial_state((3,)) == ()
    observation = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    time_step = restart(observation, batch_shape=(3,))
    action = policy.action((), time_step).action
    np.testing.assert_array_equal(action, balance_pole(observation))
    distribution = policy.distribution((), time_step).action
    np.testing.assert_array_equal(distribution.mode(), action)
    np.testing.assert_array_equal(distribution.sample(jax.random.key(0)), action)
    assert distribution.log_prob(action).tolist() == [0.0] * 3
