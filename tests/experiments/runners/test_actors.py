"""The runner of actors, with none: one in this process, by the same methods."""

import dataclasses
import os
import threading
from functools import partial

import jax
import numpy as np
import pytest

from jax_agents import envs, replay
from jax_agents.experiments import Trainer, make_config
from jax_agents.experiments.runners import ActorsRunner

DQN = {"hidden": [8], "warmup_steps": 50, "batch_size": 4, "num_envs": 2, "steps_per_report": 100}


def make(config, seed=0):
    make_env = partial(envs.gym.make, "CartPole-v1")
    make_agent = config.agent
    agent = make_agent(make_env(1).specs)
    buffer = None
    if hasattr(config, "replay_capacity"):
        length, exponent = agent.train_sequence_length, config.priority_exponent
        spec = agent.collect_data_spec
        buffer = replay.HostReplay(
            spec, capacity=1_000, sequence_length=length, priority_exponent=exponent
        )
    return ActorsRunner(config, agent, make_env, make_agent, buffer, seed, num_workers=0)


@pytest.mark.parametrize("exponent", [None, 0.6])
def test_an_off_policy_agent_keeps_its_ratio_and_goes_on(exponent):
    values = {
        "hidden": [8],
        "warmup_steps": 64,
        "batch_size": 4,
        "num_envs": 2,
        "steps_per_iteration": 4,
    }
    config = make_config("DQN", values | {"priority_exponent": exponent})
    runner = make(config)
    first = runner.advance(200)
    assert runner.num_steps >= 200 and abs(first.num_updates - (runner.num_steps - 64) / 4) <= 33
    assert (
        np.isfinite(first.metrics["loss"])
        and first.episodes
        and all(r == n for r, n, *_ in first.episodes)
    )
    state, counters = runner.state()
    runner.close()
    again = make(config, seed=1)
    again.set_state(state, counters, seed=7)
    steps = again.num_steps
    more = again.advance(100)
    assert (
        steps == counters["num_steps"] and again.num_steps >= steps + 100 and more.num_updates > 0
    )
    assert int(again.train_state.step) == counters["num_updates"] + more.num_updates
    again.close()


@pytest.mark.parametrize("name", ["A2C", "IMPALA"])
def test_on_policy_agents_learn_from_each_slice(name):
    runner = make(make_config(name, {"hidden": [8], "num_envs": 2, "num_rows": 8}))
    progress = runner.advance(100)
    assert (
        100 <= runner.num_steps < 120 and progress.num_updates == int(runner.train_state.step) >= 6
    )
    assert {"policy_loss", "value_loss"} <= set(progress.metrics)
    runner.close()


def train(tmp_path, num_workers):
    options = {"runner": "ray", "run_folder": tmp_path, "num_workers": num_workers}
    trainer = Trainer(make_config("DQN", DQN), "CartPole-v1", **options)
    steps = trainer.train()["num_env_steps_sampled_lifetime"]
    assert steps >= 100 and trainer.replay_name == "host"
    trainer.save()
    trainer.close()
    again = Trainer(make_config("DQN", DQN), "CartPole-v1", **options)
    again.restore()
    assert again.num_steps == steps
    # the next report's end, whatever the first one overshot
    assert again.train()["num_env_steps_sampled_lifetime"] >= 200
    again.close()


def test_a_trainer_goes_on_from_what_it_saved(tmp_path):
    train(tmp_path, num_workers=0)


@pytest.mark.nightly
def test_a_trainer_on_actors(tmp_path, ray_on_this_machine):
    train(tmp_path, num_workers=2)


def test_without_actors_the_trainer_is_the_only_worker():
    trainer = Trainer(make_config("DQN", DQN), "CartPole-v1", runner="ray", num_workers=0)
    assert trainer.foreach_worker_with_index(lambda worker, i: (worker, i)) == [(trainer, 0)]
    trainer.close()


def test_replaced_weights_act_from_the_next_report_on():
    runner = make(make_config("PG", {"hidden": [8], "num_envs": 2, "num_rows": 8}))
    runner.advance(1)
    versions = [runner.driver.version]
    runner.train_state = dataclasses.replace(
        runner.train_state, params=jax.tree.map(np.zeros_like, runner.train_state.params)
    )
    runner._publish(wait=True)
    versions.append(runner.driver.version)
    (acting,) = runner.driver.foreach_actor(
        lambda collector: collector.pull() or collector.params["params"]
    )
    assert versions[0] < versions[1] and not any(leaf.any() for leaf in jax.tree.leaves(acting))
    runner.close()


@pytest.mark.nightly
@pytest.mark.parametrize(
    "name, env", [("DQN", "CartPole-v1"), ("SAC", "Pendulum-v1"), ("PPO", "CartPole-v1")]
)
def test_each_worker_has_weights_of_its_own(name, env, ray_on_this_machine):
    """The trainer is number 0, and actors 1 to n follow in their order; what they have was
    published to them.
    """
    values = {"hidden": [8], "num_envs": 2} | (
        DQN if name == "DQN" else {"warmup_steps": 100} if name == "SAC" else {}
    )
    trainer = Trainer(make_config(name, values), env, runner="ray", num_workers=2)
    trainer.train()
    look = lambda worker, i: (i, os.getpid(), worker.num_steps, worker.get_policy().get_weights())
    numbers, pids, steps, weights = zip(*trainer.foreach_worker_with_index(look), strict=True)
    assert numbers == (0, 1, 2) and pids[0] == os.getpid() and len(set(pids)) == 3
    assert steps[0] == trainer.num_steps and min(steps[1:]) > 0 and sum(steps[1:]) >= steps[0]
    assert set(weights[1]) <= set(weights[0]) and weights[1].keys() == weights[2].keys()

    # what is set on the trainer does not reach the others at once, but when they are told
    trainer.get_policy().set_weights(jax.tree.map(np.zeros_like, weights[0]))
    look = lambda worker: worker.get_policy().get_weights()
    mine, *theirs = trainer.foreach_worker(look)
    assert not any(leaf.any() for leaf in jax.tree.leaves(mine))
    jax.tree.map(np.testing.assert_array_equal, theirs, list(weights[1:]))
    trainer.sync_workers()
    assert not any(
        leaf.any() for tree in trainer.foreach_worker(look) for leaf in jax.tree.leaves(tree)
    )

    # values, actions and weights there, as here
    observation = np.ones(trainer.agent.specs.observation.shape, np.float32)
    actions = trainer.foreach_worker(
        lambda worker: np.asarray(worker.get_policy().compute_action(observation))
    )
    assert len(actions) == 3 and all((action == actions[0]).all() for action in actions)
    ones = jax.tree.map(np.ones_like, weights[1])
    trainer.foreach_worker_with_index(
        lambda worker, i: worker.get_policy().set_weights(ones) if i == 2 else None
    )
    assert [
        any(leaf.any() for leaf in jax.tree.leaves(tree)) for tree in trainer.foreach_worker(look)
    ] == [False, False, True]

    # what a function raises is told, and harms no actor
    with pytest.raises(RuntimeError, match=r"(?s)in actor 0:.*ZeroDivisionError"):
        trainer.foreach_worker_with_index(lambda worker, i: 0 if i == 0 else 1 / 0)
    with pytest.raises(RuntimeError, match=r"(?s)in actor 0:.*pickle"):
        trainer.foreach_worker(lambda worker: threading.Lock())
    assert [
        pid for _, pid in trainer.foreach_worker_with_index(lambda worker, i: (i, os.getpid()))
    ] == list(pids)
    trainer.train()
    trainer.close()
