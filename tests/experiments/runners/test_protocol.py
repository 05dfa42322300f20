"""What every runner promises a trainer, of each of them."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_agents import envs
from jax_agents.experiments import DqnConfig, EsConfig, PpoConfig
from jax_agents.experiments.runners import Progress, Runner, VmappedRuns, make_runner, merge
from jax_agents.experiments.training.reports import make_report

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


# -- what is told of episodes, where every reward is 1, so that returns are lengths

TOLD = {
    "off-policy": DqnConfig(
        hidden=(4,), warmup_steps=40, batch_size=4, replay_capacity=400, steps_per_iteration=20
    ),
    "one row": DqnConfig(hidden=(4,), warmup_steps=40, batch_size=4, replay_capacity=400),
    "on-policy": PpoConfig(hidden=(4,), num_envs=4, num_rows=64, num_epochs=1, num_minibatches=1),
    "episodes": EsConfig(hidden=(4,), population_size=8, max_steps=200),
}


def progress_of_vmapped(config, env):
    runs = VmappedRuns(config, env, [0, 1], {})
    runs.advance([True, True])
    return runs.members[1].advance(config.steps_per_report)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (name, kind)
        for name in TOLD
        for kind in ("device", "vmapped", "loop", "ray")
        if kind in (*TOLD[name].runners, "vmapped")
    ],
)
def test_highest_lowest_and_length_are_those_of_the_episodes(name, kind):
    config = TOLD[name]
    make_env = lambda num_envs=config.num_envs: envs.gym.make("CartPole-v1", num_envs)
    env = envs.classic.CartPole()
    agent = config.agent(env.specs)
    replay = "none" if name == "on-policy" else "host"
    if kind == "vmapped":
        progress = progress_of_vmapped(config, env)
    elif kind == "device":
        progress = make_runner(config, agent, env, 0, "device", None).advance(600)
    elif kind == "loop":
        progress = make_runner(config, agent, make_env(), 0, replay, None).advance(600)
    else:
        actors = (make_env, config.agent, 0)
        progress = make_runner(config, agent, None, 0, replay, None, actors).advance(600)
    counters = {"training_iteration": 1, "num_steps": 1, "num_updates": 1, "num_episodes": 1}
    report = make_report(counters | {"time_total": 1.0}, progress.episodes, 1, 1.0)
    mean, length = report["episode_return_mean"], report["episode_len_mean"]
    assert mean == pytest.approx(length, rel=1e-5) and mean > 5
    assert 8 <= report["episode_return_min"] < mean < report["episode_return_max"] <= 200
    assert report["episode_return_min"] == int(report["episode_return_min"])  # a whole episode's
    assert sum(one.number for one in progress.episodes) > 5
