import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_agents.envs.classic import MountainCar


@pytest.mark.parametrize("seed", range(2))
def test_random_actions_match_gymnasium_to_the_limit(same_as_gymnasium, seed):
    last, length = same_as_gymnasium(
        MountainCar(), "MountainCar-v0", lambda o, rng: rng.integers(3), seed=seed
    )
    assert float(last.discount) == 1.0 and length == 200


def test_pushing_with_the_motion_matches_gymnasium_until_the_goal(same_as_gymnasium):
    last, length = same_as_gymnasium(
        MountainCar(), "MountainCar-v0", lambda o, rng: 2 if o[1] >= 0 else 0
    )
    assert float(last.discount) == 0.0 and length < 200


def test_the_wall_stops_the_car():
    physics, reward, terminated = MountainCar().dynamics(jnp.array([-1.19, -0.07]), jnp.int32(0))
    np.testing.assert_allclose(physics, [-1.2, 0.0], rtol=1e-6)
    assert reward == -1.0 and not terminated


@pytest.mark.parametrize(
    ("position", "velocity", "reached"), [(0.48, 0.021, True), (0.48, 0.019, False)]
)
def test_the_goal_is_at_a_half(position, velocity, reached):
    state = jnp.array([position, velocity + 0.0025 * np.cos(3 * position)], jnp.float32)
    physics, _, terminated = MountainCar().dynamics(state, jnp.int32(1))
    np.testing.assert_allclose(physics, [position + velocity, velocity], rtol=1e-5)
    assert bool(terminated) == reached


def test_render():
    env = MountainCar()
    assert env.render(env.reset(jax.random.key(0))[0]).shape == (400, 600, 3)
