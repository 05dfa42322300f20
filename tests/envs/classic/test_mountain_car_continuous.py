import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_agents.envs.classic import MountainCarContinuous


def test_random_actions_match_gymnasium_to_the_limit(same_as_gymnasium):
    # forces beyond the bounds too: the engine clips them, the price does not
    policy = lambda o, rng: rng.uniform(-1.5, 1.5, 1)
    last, length = same_as_gymnasium(
        MountainCarContinuous(), "MountainCarContinuous-v0", policy, resync=True
    )
    assert float(last.discount) == 1.0 and length == 999


def test_pushing_with_the_motion_matches_gymnasium_until_the_goal(same_as_gymnasium):
    policy = lambda o, rng: [1.0 if o[1] >= 0 else -1.0]
    last, length = same_as_gymnasium(MountainCarContinuous(), "MountainCarContinuous-v0", policy)
    assert float(last.discount) == 0.0 and length < 999
    np.testing.assert_allclose(last.reward, 99.9, rtol=1e-5)


def test_the_wall_stops_the_car():
    physics, reward, terminated = MountainCarContinuous().dynamics(
        jnp.array([-1.19, -0.07]), jnp.array([-2.0])
    )
    np.testing.assert_allclose(physics, [-1.2, 0.0], rtol=1e-6)
    np.testing.assert_allclose(reward, -0.4, rtol=1e-6)
    assert not terminated


@pytest.mark.parametrize(("velocity", "reached"), [(0.021, True), (0.019, False)])
def test_the_goal(velocity, reached):
    state = jnp.array([0.43, velocity + 0.0025 * np.cos(3 * 0.43)], jnp.float32)
    _, reward, terminated = MountainCarContinuous().dynamics(state, jnp.zeros(1))
    assert bool(terminated) == reached and float(reward) == 100.0 * reached


def test_render():
    env = MountainCarContinuous()
    assert env.render(env.reset(jax.random.key(0))[0]).shape == (400, 600, 3)
