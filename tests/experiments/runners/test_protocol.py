"""What every runner promises a trainer, of each of them."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_agents import envs
from jax_agents.experiments import DqnConfig
from jax_agents.experiments.runners import Progress, Runner, make_runner, merge

CONFIG = DqnConfig(
    hidden=(4,),
    num_envs=2,
    warmup_steps=20,
    batch_size=4,
    replay_capacity=100,
    steps_per_iteration=10,
    steps_per_report=20,
)


def make(kind, seed=0):
    """A small run of DQN by a runner of a kind."""
    make_env = lambda num_envs=2: envs.gym.make("CartPole-v1", num_envs)
    if kind == "device":
        env = envs.classic.CartPole()
        return make_runner(CONFIG, CONFIG.agent(env.specs), env, seed, "device", None)
    env = make_env()
    agent = CONFIG.agent(env.specs)
    if kind == "ray":
        env.close()
        return make_runner(CONFIG, agent, None, seed, "host", None, (make_env, CONFIG.agent, 0))
    return make_runner(CONFIG, agent, env, seed, "host", None)


@pytest.mark.parametrize("kind", ["loop", "device", "ray"])
def test_a_runner_counts_reports_and_goes_on(kind):
    runner = make(kind)
    for name in (*Runner.__annotations__, *vars(Runner)):
        assert name.startswith("_") or hasattr(runner, name)
    assert runner.chunk >= 1
    assert runner.num_steps == 0
    first = runner.train_state
    copied = jax.tree.map(jnp.copy, first.params)
    updates = 0
    for _ in range(3):
        progress = runner.advance(20)
        assert isinstance(progress, Progress)
        updates += progress.num_updates
        assert all(isinstance(value, float) for value in progress.metrics.values())
    assert runner.num_steps >= 60
    assert int(runner.train_state.step) == updates > 0
    # What was given before is a copy: training neither changes it nor gives its memory back.
    jax.tree.map(np.testing.assert_array_equal, first.params, copied)

    arrays, counters = runner.state()
    other = make(kind, seed=1)
    saved = jax.tree.map(jnp.copy, arrays)
    other.set_state(saved, json.loads(json.dumps(counters)), seed=2)
    assert other.num_steps == runner.num_steps
    mine = runner.train_state
    jax.tree.map(np.testing.assert_array_equal, mine.params, other.train_state.params)
    assert int(other.train_state.step) == updates
    runner.close()
    other.close()


def test_merged_progress_weighs_metrics_by_updates():
    parts = [
        Progress(0, {}, []),
        Progress(1, {"loss": 4.0}, [(2.0, 2.0, 1)], seconds=0.5),
        Progress(3, {"loss": 8.0}, [(1.0, None, 1)], seconds=0.25),
    ]
    assert merge(parts) == (4, {"loss": 7.0}, [(2.0, 2.0, 1), (1.0, None, 1)], 0.75)
    assert merge([]) == (0, {}, [], 0)
