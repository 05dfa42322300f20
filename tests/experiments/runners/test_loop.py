"""The Python loop: what it counts, and how it goes on in new episodes."""

import jax
import numpy as np

from jax_agents import envs
from jax_agents.experiments import DqnConfig, ReinforceConfig
from jax_agents.experiments.runners import (
    LoopRunner,
    make_replay,
)


def loop_runner(config, seed=0):
    env = envs.gym.make("CartPole-v1", None if config.num_envs == 1 else config.num_envs)
    agent = config.agent(env.specs)
    buffer = None
    if config.learns_from is None:
        buffer = make_replay("host", config, agent, seed)
    return LoopRunner(config, agent, env, buffer, seed)


def test_the_loop_counts_steps_updates_and_episodes():
    runner = loop_runner(
        DqnConfig(hidden=(8,), warmup_steps=60, batch_size=4, steps_per_iteration=2)
    )
    first = runner.advance(50)
    assert (runner.num_steps, first.num_updates, first.metrics) == (50, 0, {})
    second = runner.advance(50)  # 10 of the warm-up, 40 with an update every second one
    assert (runner.num_steps, second.num_updates) == (100, 20)
    assert second.metrics["loss"] > 0
    episodes = first.episodes + second.episodes
    assert episodes and all(
        mean == length and count == 1 for mean, length, count, *_ in episodes
    )  # reward 1 a step
    assert sum(length for _, length, *_ in episodes) <= 100
    assert int(runner.train_state.step) == 20
    runner.close()


def test_the_loop_with_several_environments():
    runner = loop_runner(
        DqnConfig(hidden=(8,), warmup_steps=64, batch_size=4, num_envs=4, steps_per_iteration=4)
    )
    assert runner.advance(64).num_updates == 0
    # 2 steps of the warm-up were too many, and wait for their updates.
    assert runner.advance(40).num_updates == 11
    assert 64 + 4 * 11 <= runner.num_steps < 64 + 4 * 12
    runner.close()


def test_the_loop_goes_on_with_new_episodes_and_the_old_counters():
    config = DqnConfig(hidden=(8,), warmup_steps=30, batch_size=4, steps_per_iteration=1)
    runner, other = loop_runner(config), loop_runner(config, seed=1)
    runner.advance(50)
    state, counters = runner.state()
    other.replay.close()
    other = loop_runner(config, seed=1)
    other.replay.add(_any_row(other))
    other.set_state(state, counters, seed=5)
    assert other.num_steps == 50
    assert jax.tree.all(
        jax.tree.map(
            lambda a, b: bool(np.array_equal(a, b)), other.train_state.params, state["agent"].params
        )
    )
    for _ in range(5):
        other.replay.add(_any_row(other))
    assert other.advance(10).num_updates == 10  # no second warm-up
    runner.close(), other.close()


def _any_row(runner):
    spec = runner._loop.agent.collect_data_spec
    return jax.tree.map(lambda s: np.ones(s.shape, s.dtype), spec)  # MID follows MID


def test_an_agent_of_fresh_rows_goes_on_with_its_iterations():
    config = ReinforceConfig(hidden=(8,), num_envs=1, num_rows=8)
    runner = loop_runner(config)
    progress = runner.advance(16)
    assert progress.num_updates == 2 * config.updates_per_iteration
    assert runner.replay is None
    state, counters = runner.state()
    assert counters["num_iterations"] == 2
    runner.close()
    again = loop_runner(config, seed=1)
    again.set_state(state, counters, seed=5)
    assert again.state()[1] == counters
    assert again.advance(8).num_updates == config.updates_per_iteration
    assert again.state()[1]["num_iterations"] == 3
    again.close()
