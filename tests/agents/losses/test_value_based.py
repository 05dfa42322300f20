"""Losses of action values: hand-worked numbers under jit and vmap, gradients, and rlax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_agents.agents import losses
from jax_agents.agents.reductions import to_transition


def batched(function):
    """A single-transition function under vmap and jit."""
    return jax.jit(jax.vmap(function))


def q_network(observation):
    return observation @ jnp.array([[2.0, 1], [1, 1]]) + 1


def test_index():
    q = jnp.array([[1.0, 2, 3], [4, 5, 6]])
    np.testing.assert_array_equal(batched(losses.index)(q, jnp.array([2, 1])), [3, 5])
    np.testing.assert_array_equal(losses.index(q, 1), [4, 5, 6])
    # Nothing leaks from other entries.
    np.testing.assert_array_equal(losses.index(q.at[0].set(-jnp.inf), 1), [4, 5, 6])


def test_greedy():
    q = jnp.array([1.0, 3, 2])
    assert losses.greedy(q) == 1
    assert losses.greedy(q, jnp.array([True, False, True])) == 2
    assert losses.greedy(q, jnp.array([1, 0, 1], jnp.int8)) == 2  # gymnasium's masks
    assert losses.greedy(q, jnp.zeros(3, bool)) == 1  # a mask that forbids everything is ignored


def td_errors(t):
    return batched(losses.q_learning)(
        q_network(t.observation), t.action, t.reward, t.discount, q_network(t.next_observation)
    )


def test_q_learning(transitions):
    # q(o, a) = (5, 8); max_a q(o') = (17, 23); targets (25.3, 40.7).
    errors = td_errors(transitions)
    np.testing.assert_allclose(errors, [20.3, 32.7], rtol=1e-6)
    np.testing.assert_allclose(jnp.mean(losses.huber(errors)), 26.0, rtol=1e-6)
    np.testing.assert_allclose(jnp.mean(losses.squared(errors)), 740.69, rtol=1e-6)
    # Another best action: q(o') = (2, 2) by action 1; errors (6.8, 13.8).
    errors = td_errors(transitions._replace(next_observation=jnp.array([[-5.0, 6], [-7, 8]])))
    np.testing.assert_allclose(jnp.mean(losses.huber(errors)), 9.8, rtol=1e-6)


def test_q_learning_over_two_steps(frames, make_rows):
    errors = td_errors(jax.jit(to_transition)(make_rows(frames), 1.0))
    # Targets: 10 + .9 x 10 + .81 x 29 = 42.49 and 20 + .9 x 20 + .81 x 35 = 66.35.
    # Less the values (5, 8), less .5 for Huber.
    np.testing.assert_allclose(jnp.mean(losses.huber(errors)), 47.42, rtol=1e-6)


def test_q_learning_with_masks():
    q_t = jnp.array([[5.0, 1], [5, 1], [5, 1]])
    mask = jnp.array([[True, True], [False, True], [False, False]])
    error = batched(losses.q_learning)(
        jnp.zeros((3, 2)), jnp.zeros(3, int), jnp.zeros(3), jnp.ones(3), q_t, mask
    )
    np.testing.assert_array_equal(error, [5, 1, 5])


def test_double_q_learning():
    args = jnp.array([1.0, 2]), 0, 3.0, 0.5
    value, selector = jnp.array([10.0, 20]), jnp.array([2.0, 1])
    # 3 + .5 x 10 - 1 = 7: the selector prefers action 0.
    # The values do not: 3 + .5 x 20 - 1 = 12.
    assert losses.double_q_learning(*args, value, selector) == 7
    assert losses.double_q_learning(*args, value, selector, jnp.array([False, True])) == 12
    assert losses.q_learning(*args, value) == 12


def test_targets_carry_no_gradient():
    gradient = jax.grad(losses.double_q_learning, argnums=(0, 4, 5))
    online, *targets = gradient(
        jnp.array([1.0, 2]), 1, 0.0, 0.9, jnp.array([3.0, 4]), jnp.array([5.0, 6])
    )
    np.testing.assert_array_equal(online, [0, -1])
    np.testing.assert_array_equal(targets, jnp.zeros((2, 2)))


def test_against_rlax():
    rlax = pytest.importorskip("rlax")
    q, q_t, selector = jax.random.normal(jax.random.key(4), (3, 3))
    a, r, d = 1, 0.3, 0.9
    close = {"rtol": 1e-5, "atol": 1e-6}
    np.testing.assert_allclose(
        losses.q_learning(q, a, r, d, q_t), rlax.q_learning(q, a, r, d, q_t), **close
    )
    np.testing.assert_allclose(
        losses.double_q_learning(q, a, r, d, q_t, selector),
        rlax.double_q_learning(q, a, r, d, q_t, selector),
        **close,
    )
