import jax
import optax
import pytest

from jax_agents import envs
from jax_agents.experiments import DqnConfig, QrDqnConfig, SacConfig
from jax_agents.experiments.runners import make_replay
from jax_agents.learners import OffPolicyLoop, OffPolicyScan


def test_iterations_and_updates_follow_from_steps():
    config = DqnConfig(
        num_steps=1_000, warmup_steps=200, steps_per_iteration=8, updates_per_iteration=2
    )
    assert (config.num_iterations, config.updates(800), config.updates(1)) == (100, 200, 1)


def test_the_learning_rate_falls_from_the_warm_up_to_the_end_of_the_run():
    config = SacConfig(num_steps=300, warmup_steps=100, learning_rate=1.0, learning_rate_end=0.0)
    rate = config.learning_rate_schedule()
    assert [float(rate(update)) for update in (0, 100, 200, 300)] == [1.0, 0.5, 0.0, 0.0]
    assert SacConfig(learning_rate=0.1).learning_rate_schedule() == 0.1
    assert isinstance(config.optimizer(), optax.GradientTransformation)


def test_more_environments_keep_updates_in_proportion_to_steps():
    def shape(config):
        return config.num_envs, config.steps_per_iteration, config.updates_per_iteration

    assert shape(SacConfig().vectorized()) == (8, 8, 8)
    assert shape(DqnConfig().vectorized()) == (8, 8, 2)
    assert shape(QrDqnConfig().vectorized()) == (8, 256, 256)
    several = SacConfig(num_envs=3, steps_per_iteration=3)
    assert several.vectorized() is several


def test_a_configuration_makes_its_loop_on_device():
    env = envs.classic.CartPole()
    config = DqnConfig(hidden=(4,), warmup_steps=50, num_envs=4, steps_per_iteration=8)
    loop = config.loop(config.agent(env.specs), env)
    assert isinstance(loop, OffPolicyScan)
    # 50 steps of the warm-up in 4 environments are 13 rows in each.
    assert (loop.num_envs, loop.rows_per_iteration, loop.warmup_rows) == (4, 2, 13)
    assert int(config.steps_done(jax.jit(loop.init)(jax.random.key(0)))) <= 52
    uneven = DqnConfig(hidden=(4,), num_envs=2, steps_per_iteration=1)
    loop = uneven.loop(uneven.agent(env.specs), env)
    assert (loop.rows_per_iteration, loop.steps_per_iteration) == (1, 1)
    assert uneven.num_iterations == (150_000 - 1_000) // 2


def test_a_configuration_makes_its_loop_on_the_host():
    env = envs.gym.make("CartPole-v1")
    config = DqnConfig(hidden=(4,), warmup_steps=30, batch_size=4, n_step=3)
    agent = config.agent(env.specs)
    buffer = make_replay("host", config, agent, 0)
    loop = config.host_loop(agent, env, buffer, key=jax.random.key(0), seed=0)
    assert isinstance(loop, OffPolicyLoop)
    loop.warm_up(30)
    assert loop.driver.num_steps == 30 and len(buffer) >= 30
    short = DqnConfig(warmup_steps=3, n_step=3)
    with pytest.raises(ValueError, match="3 rows in each of 1 environments hold no window of 4"):
        short.host_loop(short.agent(env.specs), env, buffer, key=jax.random.key(0), seed=0)
    env.close()
