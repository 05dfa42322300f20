import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_agents import envs
from jax_agents.envs import (
    MapObservation,
    TimeLimit,
    probes,
    select_observation,
    validate_environment,
)
from jax_agents.envs.classic import CartPole


def step_types(env, num_steps):
    state, time_step = env.reset(jax.random.key(0))
    step, steps = jax.jit(env.step), [time_step]
    for _ in range(num_steps):
        state, time_step = step(state, jnp.int32(0))
        steps.append(time_step)
    return [int(s.step_type) for s in steps], [float(s.discount) for s in steps]


@pytest.mark.parametrize(
    ("inner_limit", "limit", "types"),
    [
        (None, 2, [0, 1, 2, 0, 1, 2, 0, 1, 2]),
        (None, 1, [0, 2, 0, 2, 0, 2, 0, 2, 0]),
        (3, 2, [0, 1, 2, 0, 1, 2, 0, 1, 2]),
        (2, 3, [0, 1, 2, 0, 1, 2, 0, 1, 2]),
        (2, 2, [0, 1, 2, 0, 1, 2, 0, 1, 2]),
    ],
)
def test_a_time_limit_cuts_and_the_next_step_resets(inner_limit, limit, types):
    env = TimeLimit(probes.OneState(max_episode_steps=inner_limit), limit)
    assert step_types(env, 8) == (types, [1.0] * 9)


def test_a_termination_at_the_limit_stays_one():
    types, discounts = step_types(TimeLimit(probes.DelayedReward(), 2), 5)
    assert types == [0, 1, 2, 0, 1, 2] and discounts == [1, 1, 0, 1, 1, 0]


def test_a_time_limit_in_a_batch_and_its_picture():
    env = TimeLimit(CartPole(max_episode_steps=None), 10)
    validate_environment(envs.HostEnvironment(env, 3), 60)
    state, _ = env.reset(jax.random.key(0))
    assert env.render(state).shape == (400, 600, 3)


def test_bad_limits():
    with pytest.raises(ValueError, match="max_steps"):
        TimeLimit(CartPole(), 0)


def test_cartpole_without_velocities():
    env = select_observation(CartPole(), (0, 2))
    assert env.specs.observation == envs.BoundedSpec(
        (2,), np.float32, [-4.8, -24 * np.pi / 180], [4.8, 24 * np.pi / 180]
    )
    assert env.specs.action == CartPole().specs.action
    state, time_step = env.step(env.reset(jax.random.key(0))[0], jnp.int32(1))
    np.testing.assert_array_equal(time_step.observation, state.physics[jnp.array([0, 2])])
    validate_environment(env, 60)
    assert env.render(state).shape == (400, 600, 3)


def test_map_observation():
    spec = {"x": envs.ArraySpec((1,)), "rest": envs.ArraySpec((3,))}
    env = MapObservation(CartPole(), lambda o: {"x": o[:1], "rest": o[1:]}, spec)
    validate_environment(env, 40)


@pytest.mark.parametrize("indices", [(4,), (-1,), ()])
def test_bad_indices(indices):
    with pytest.raises(ValueError, match=r"indices: expected numbers in 0..3"):
        select_observation(CartPole(), indices)
    with pytest.raises(ValueError, match="one vector"):
        select_observation(probes.MaskedActions(), (0,))
