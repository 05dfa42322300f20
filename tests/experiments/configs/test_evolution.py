import jax
import pytest

from jax_agents import envs
from jax_agents.experiments.configs.evolution import EsConfig
from jax_agents.experiments.runners import CompiledRunner


def test_the_agent_is_what_the_configuration_says():
    config = EsConfig(
        hidden=(5,),
        sigma=0.4,
        sigma_decay=0.5,
        sigma_end=0.1,
        population_size=6,
        normalize_observations=True,
    )
    agent = config.agent(envs.classic.CartPole().specs)
    assert (agent.population_size, agent.normalize_observations) == (6, True)
    assert [float(agent.sigma(step)) for step in (0, 1, 5)] == pytest.approx([0.4, 0.2, 0.1])


def test_the_runner_counts_the_steps_of_whole_episodes():
    env = envs.classic.CartPole(max_episode_steps=9)
    config = EsConfig(hidden=(4,), population_size=4, num_episodes=2, max_steps=9)
    runner = CompiledRunner(config, config.agent(env.specs), env, 0)
    assert runner.num_steps == 0
    progress = runner.advance(1)
    ((mean, length, count, highest, lowest),) = progress.episodes
    assert lowest <= mean <= highest
    assert (progress.num_updates, count) == (1, 8)
    # a reward for each step
    assert mean == pytest.approx(length) and runner.num_steps == pytest.approx(8 * length)
    assert int(runner.train_state.step) == 1
    state = jax.tree.map(lambda x: x, runner.train_state)
    runner.train_state = state
    assert runner.advance(1).num_updates == 1 and int(runner.train_state.step) == 2


def test_generations_follow_from_steps():
    config = EsConfig(num_steps=1_000, population_size=4, num_episodes=2, max_steps=25)
    assert (config.num_envs, config.steps_per_iteration, config.num_iterations) == (8, 200, 5)
