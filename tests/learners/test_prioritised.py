"""Updates from prioritised replay, by hand-worked numbers."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import optax

from jax_agents.agents.agent import LossInfo
from jax_agents.learners import importance_weights, replay_update

BOUNDARY = jnp.array([[False, False], [False, True], [True, False]])
EXPERIENCE = SimpleNamespace(is_last=lambda: BOUNDARY)
DRAWS = (jnp.array([0.5, 0.25, 1e-6]), jnp.array([4, 4, 4]))


def train(state, experience, weights):
    """Has the weights it was given as its loss, and TD errors of its own."""
    assert experience is EXPERIENCE
    errors = {"td_error": jnp.array([-3.0, 0.5, 0.0])}
    return SimpleNamespace(step=state.step + 1), LossInfo(weights, {}, errors)


def test_importance_weights_by_numbers():
    """(N P)^-beta over its largest: P = 1/2, 1/4, 1/8 of N = 4 are 2, 1, 1/2."""
    weights = importance_weights(jnp.array([0.5, 0.25, 0.125]), jnp.array([4, 4, 4]), 1.0)
    np.testing.assert_allclose(weights, [0.25, 0.5, 1.0])
    np.testing.assert_allclose(importance_weights(jnp.array([0.5, 0.125]), 4, 0.5), [0.5, 1.0])
    np.testing.assert_allclose(importance_weights(jnp.array([0.5, 0.125]), 4, 0.0), [1.0, 1.0])


def test_windows_that_begin_with_a_boundary_do_not_scale_the_others():
    probability = jnp.array([0.5, 0.25, 1e-6])
    masked = jnp.array([False, False, True])
    np.testing.assert_allclose(importance_weights(probability, 4, 1.0, masked), [0.5, 1.0, 1.0])
    np.testing.assert_allclose(importance_weights(probability, 4, 1.0, jnp.ones(3, bool)), 1.0)


def test_an_update_is_weighted_and_its_errors_are_the_new_priorities():
    """(4 x 1/2)^-1 : (4 x 1/4)^-1 = 1/2 : 1; the third window begins with a boundary row."""
    state, loss, priorities = replay_update(
        train, SimpleNamespace(step=4), EXPERIENCE, DRAWS, importance_exponent=1.0
    )
    assert state.step == 5
    np.testing.assert_allclose(loss.loss, [0.5, 1.0, 1.0])
    np.testing.assert_allclose(priorities, [3 + 1e-6, 0.5 + 1e-6, 1e-6], rtol=1e-6)


def test_the_exponent_may_be_a_schedule_of_the_update_count():
    """Half of the way from 0 to 1, the weights are square roots."""
    schedule = optax.linear_schedule(0.0, 1.0, 8)
    _, loss, _ = replay_update(train, SimpleNamespace(step=4), EXPERIENCE, DRAWS, schedule)
    np.testing.assert_allclose(loss.loss, [0.5**0.5, 1.0, 1.0], rtol=1e-6)


def test_uniform_draws_have_neither_weights_nor_priorities():
    state, loss, priorities = replay_update(
        train, SimpleNamespace(step=0), EXPERIENCE, None, importance_exponent=0.4
    )
    assert state.step == 1 and loss.loss is None and priorities is None
