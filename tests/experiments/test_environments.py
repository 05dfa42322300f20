import numpy as np
import pytest
from jax_agents import envs
from jax_agents.experiments.environments import JAX_ENVIRONMENTS, OWN_ENVIRONMENTS, host_environment, jax_environment


@pytest.mark.parametrize("env_id", JAX_ENVIRONMENTS)
def test_every_jax_environment_is_gymnasiums_of_that_id(env_id):
    ours, theirs = jax_environment(env_id).specs, host_environment(env_id, None).specs
    assert ours.observation.shape == theirs.observation.shape
    assert type(ours.action) is type(theirs.action)


@pytest.mark.parametrize("name", OWN_ENVIRONMENTS)
def test_our_own_ones_are_there_in_both_loops(name):
    ours, host = jax_environment(name), host_environment(name, 2, max_episode_steps=3)
    assert ours.specs.observation.shape == host.specs.observation.shape
    assert host.reset(0).observation.shape == (2, *ours.specs.observation.shape)
    step_types = [host.step(np.zeros(2, np.int32)).step_type.tolist() for _ in range(3)]
    assert step_types == [[1, 1], [1, 1], [2, 2]]


def test_environments_that_are_not_in_jax():
    env = envs.classic.CartPole()
    assert jax_environment(env) is env
    assert jax_environment(env, 7).max_episode_steps == 7
    assert jax_environment(env, -1).max_episode_steps is None
    with pytest.raises(ValueError, match=r"'CartPole-v0' is not; did you mean 'CartPole-v1'.* Or use runner 'loop'"):
        jax_environment("CartPole-v0")
    with pytest.raises(ValueError, match="needs a JAX environment or the id of one"):
        jax_environment(lambda: None)
    with pytest.raises(ValueError, match="MapObservation has no field max_episode_steps"):
        jax_environment("CartPole-v1-positions", -1)
