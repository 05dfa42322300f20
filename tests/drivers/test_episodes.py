import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_agents.drivers import play_episodes
from jax_agents.envs.classic import CartPole
from jax_agents.policies import PythonPolicy, RandomPolicy, ScriptedPolicy

ENV = CartPole(max_episode_steps=30)
RANDOM = RandomPolicy(ENV.specs.action)


@pytest.fixture(scope="module")
def played():
    return jax.jit(lambda key: play_episodes(ENV, RANDOM, (), key, 40, 20, statistics=True))(
        jax.random.key(0)
    )


def test_each_environment_counts_with_its_first_episode_up_to_the_limit(played):
    lengths = np.asarray(played.lengths)
    np.testing.assert_array_equal(played.returns, lengths)  # a reward of 1 for each step
    assert lengths.max() == 20 and 8 <= lengths.min() < 20
    assert len(np.unique(lengths)) > 3


def test_statistics_are_of_the_observations_that_were_acted_on(played):
    """Pushed one way only, all carts of a time step have about the same velocity: the mean is that
    of these steps.
    """
    np.testing.assert_allclose(played.statistics.count, played.lengths.sum())
    push = ScriptedPolicy([(1, 1)])
    few = jax.jit(lambda key: play_episodes(ENV, push, (), key, 3, 2, statistics=True))(
        jax.random.key(1)
    )
    state, time_step = jax.vmap(ENV.reset)(
        jax.random.split(jax.random.split(jax.random.key(1))[0], 3)
    )
    _, following = jax.vmap(ENV.step)(state, jnp.ones(3, jnp.int32))
    seen = np.concatenate([time_step.observation, following.observation])
    np.testing.assert_allclose(few.statistics.mean, seen.mean(0), rtol=1e-5)
    np.testing.assert_allclose(few.statistics.variance, seen.var(0), rtol=1e-4)
    assert play_episodes(ENV, push, (), jax.random.key(1), 3, 2).statistics is None


def test_errors():
    with pytest.raises(ValueError, match="num_episodes=0, max_steps=5"):
        play_episodes(ENV, RANDOM, (), jax.random.key(0), 0, 5)


def test_a_policy_in_plain_python_is_refused():
    rule = PythonPolicy(ENV.specs.action, lambda observation: 0)
    with pytest.raises(TypeError, match="PythonPolicy is a policy in plain Python"):
        play_episodes(ENV, rule, (), jax.random.key(0), 3, 2)
