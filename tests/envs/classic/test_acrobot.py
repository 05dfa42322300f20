import jax
import jax.numpy as jnp
import numpy as np

from jax_agents.envs.classic import Acrobot


def test_swinging_up_matches_gymnasium_until_the_goal(same_as_gymnasium):
    pump = lambda o, rng: 2 if o[4] < 0 else 0  # pushes with the first link's swing
    last, length = same_as_gymnasium(Acrobot(), "Acrobot-v1", pump, resync=True)
    assert float(last.discount) == 0.0 and float(last.reward) == 0.0 and length < 500


def test_no_torque_matches_gymnasium_to_the_limit(same_as_gymnasium):
    last, length = same_as_gymnasium(Acrobot(), "Acrobot-v1", lambda o, rng: 1, resync=True)
    assert float(last.discount) == 1.0 and float(last.reward) == -1.0 and length == 500


def test_random_actions_match_gymnasium(same_as_gymnasium):
    same_as_gymnasium(Acrobot(), "Acrobot-v1", lambda o, rng: rng.integers(3), resync=True, seed=3)


def test_hanging_still_without_torque_stays_there():
    physics, reward, terminated = Acrobot().dynamics(jnp.zeros(4), jnp.int32(1))
    np.testing.assert_allclose(physics, np.zeros(4), atol=1e-6)
    assert reward == -1.0 and not terminated


def test_render():
    env = Acrobot()
    assert env.render(env.reset(jax.random.key(0))[0]).shape == (500, 500, 3)
