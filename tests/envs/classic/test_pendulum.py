import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_agents.envs.classic import Pendulum


@pytest.mark.parametrize("seed", range(2))
def test_a_whole_episode_matches_gymnasium(same_as_gymnasium, seed):
    # torques beyond the bounds too: both clip them
    policy = lambda o, rng: rng.uniform(-3, 3, 1)
    last, length = same_as_gymnasium(Pendulum(), "Pendulum-v1", policy, resync=True, seed=seed)
    assert float(last.discount) == 1.0 and length == 200


def test_a_damped_episode_matches_without_resynchronising(same_as_gymnasium):
    policy = lambda o, rng: np.clip(-o[1:2] - o[2:3], -2, 2)  # damped: rounding does not grow
    same_as_gymnasium(Pendulum(), "Pendulum-v1", policy, atol=2e-3, reward_atol=2e-3)


def test_one_step_by_hand():
    # upright, at rest, torque 1: cost 0.001; acceleration 3; speed 0.15; angle 0.0075
    physics, reward, terminated = Pendulum().dynamics(jnp.zeros(2), jnp.ones(1))
    np.testing.assert_allclose(physics, [0.0075, 0.15], rtol=1e-6)
    np.testing.assert_allclose(reward, -0.001, rtol=1e-6)
    assert not terminated


def test_starts_all_around():
    env = Pendulum()
    angles = jax.vmap(lambda key: env.initial_physics(key))(
        jax.random.split(jax.random.key(0), 500)
    )
    assert angles[:, 0].min() < -3 and angles[:, 0].max() > 3 and jnp.abs(angles[:, 1]).max() <= 1


def test_render():
    env = Pendulum()
    assert env.render(env.reset(jax.random.key(0))[0]).shape == (500, 500, 3)
