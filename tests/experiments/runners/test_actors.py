"""The runner whose environments are in actors, with none: one in this process, by the same methods."""

from functools import partial

import numpy as np
import pytest
from jax_agents import envs, replay
from jax_agents.experiments import Trainer, make_config
from jax_agents.experiments.presets import preset_of
from jax_agents.experiments.runners import ActorsRunner


def make(config, seed=0):
    make_env = partial(envs.gym.make, "CartPole-v1")
    make_agent = partial(preset_of(config)[1].make_agent, config)
    agent = make_agent(make_env(1).specs)
    buffer = None
    if hasattr(config, "replay_capacity"):
        length, exponent = agent.train_sequence_length, config.priority_exponent
        spec = agent.collect_data_spec
        buffer = replay.HostReplay(spec, capacity=1_000, sequence_length=length, priority_exponent=exponent)
    return ActorsRunner(config, agent, make_env, make_agent, buffer, seed, num_workers=0)


@pytest.mark.parametrize("exponent", [None, 0.6])
def test_an_off_policy_agent_keeps_its_ratio_and_goes_on(exponent):
    values = {"hidden": [8], "warmup_steps": 64, "batch_size": 4, "num_envs": 2, "steps_per_iteration": 4}
    config = make_config("DQN", values | {"priority_exponent": exponent})
    runner = make(config)
    first = runner.advance(200)
    assert runner.num_steps >= 200 and abs(first.num_updates - (runner.num_steps - 64) / 4) <= 33
    assert np.isfinite(first.metrics["loss"]) and first.episodes and all(r == n for r, n, _ in first.episodes)
    state, counters = runner.state()
    runner.close()
    again = make(config, seed=1)
    again.set_state(state, counters, seed=7)
    steps = again.num_steps
    more = again.advance(100)
    assert steps == counters["num_steps"] and again.num_steps >= steps + 100 and more.num_updates > 0
    assert int(again.train_state.step) == counters["num_updates"] + more.num_updates
    again.close()


@pytest.mark.parametrize("name", ["A2C", "IMPALA"])
def test_on_policy_agents_learn_from_each_slice(name):
    runner = make(make_config(name, {"hidden": [8], "num_envs": 2, "num_rows": 8}))
    progress = runner.advance(100)
    assert 100 <= runner.num_steps < 120 and progress.num_updates == int(runner.train_state.step) >= 6
    assert {"policy_loss", "value_loss"} <= set(progress.metrics)
    runner.close()


def train(tmp_path, num_workers):
    values = {"hidden": [8], "warmup_steps": 50, "batch_size": 4, "num_envs": 2, "steps_per_report": 100}
    options = {"runner": "ray", "run_folder": tmp_path, "num_workers": num_workers}
    trainer = Trainer(make_config("DQN", values), "CartPole-v1", **options)
    steps = trainer.train()["num_env_steps_sampled_lifetime"]
    assert steps >= 100 and trainer.replay_name == "host"
    trainer.save()
    trainer.close()
    again = Trainer(make_config("DQN", values), "CartPole-v1", **options)
    again.restore()
    assert again.train()["num_env_steps_sampled_lifetime"] >= steps + 100
    again.close()


def test_a_trainer_goes_on_from_what_it_saved(tmp_path):
    train(tmp_path, num_workers=0)


@pytest.mark.nightly
def test_a_trainer_on_actors(tmp_path, ray_on_this_machine):
    train(tmp_path, num_workers=2)
