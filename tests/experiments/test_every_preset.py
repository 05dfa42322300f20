"""Every algorithm, in both runners, keeps the trainer's promises: it trains, reports, saves, goes
on and acts.
"""

import dataclasses

import jax
import numpy as np
import pytest

from jax_agents.experiments import PRESETS, RESULT_KEYS, Trainer

SMALL = {
    "hidden": (8,),
    "batch_size": 4,
    "warmup_steps": 40,
    "replay_capacity": 200,
    "steps_per_iteration": 20,
    "updates_per_iteration": 1,
    "steps_per_report": 40,
    "num_envs": 2,
    "num_rows": 20,
    "num_epochs": 1,
    "num_minibatches": 1,
    "iterations_per_report": 1,
    "max_episode_steps": 15,
    "core_size": 4,
    "num_atoms": 5,
    "sequence_length": 4,
    "burn_in": 1,
    "lstm_size": 4,
    "population_size": 4,
    "max_steps": 15,
}
CONTINUOUS = ("SAC", "TD3", "DDPG", "APEX_DDPG")


def small(name):
    config = PRESETS[name].config
    known = {field.name for field in dataclasses.fields(config)}
    # What is None stays so: memory, for one, is part of what an algorithm is.
    small = {
        key: value
        for key, value in SMALL.items()
        if key in known and (key != "lstm_size" or config.lstm_size)
    }
    return dataclasses.replace(config, **small)


def make(name, runner, folder):
    env = "Pendulum-v1" if name in CONTINUOUS else "CartPole-v1"
    return Trainer(small(name), env, runner=runner, replay="host", run_folder=folder, seed=1)


def arrays(state):
    is_key = lambda x: jax.numpy.issubdtype(x.dtype, jax.dtypes.prng_key)
    return [np.asarray(jax.random.key_data(x) if is_key(x) else x) for x in jax.tree.leaves(state)]


# Compiling takes all the time, so that one trainer does everything. By default an algorithm has one
# of the runners, and those whose code others here run too have none.
DAILY = {
    "loop": ("DQN", "R2D2", "PPO", "PG", "SAC", "TD3", "APEX"),
    "device": ("C51", "QRDQN", "RECURRENT_PPO", "IMPALA", "DDPG", "DISCRETE_SAC", "ES"),
}
CASES = [
    pytest.param(runner, name, marks=() if name in DAILY[runner] else pytest.mark.nightly)
    for runner in ("loop", "device")
    for name in PRESETS
    if name not in ("A3C", "BC") and (runner, name) != ("loop", "ES")
]


@pytest.mark.parametrize("runner, name", CASES)
def test_it_trains_saves_goes_on_and_acts(runner, name, tmp_path):
    trainer = make(name, runner, tmp_path)
    first, second = trainer.train(), trainer.train()
    assert (
        set(first) >= set(RESULT_KEYS)
        and second["loss"] is not None
        and np.isfinite(second["loss"])
    )
    assert 80 <= second["num_env_steps_sampled_lifetime"] <= 160
    assert 2 <= second["num_updates_lifetime"] == int(trainer.train_state.step) <= 4
    assert second["num_episodes_lifetime"] > 0 and second["episode_return_mean"] is not None
    trainer.save()
    saved = arrays(trainer.train_state)
    # the same policies in either runner
    returns = trainer.evaluate(2) if runner == "loop" else None

    third = trainer.train()
    assert third["num_updates_lifetime"] > second["num_updates_lifetime"]
    assert any((a != b).any() for a, b in zip(saved, arrays(trainer.train_state), strict=True))
    trainer.restore()
    assert trainer.result == second
    for a, b in zip(saved, arrays(trainer.train_state), strict=True):
        np.testing.assert_array_equal(a, b)
    again = trainer.train()
    if runner == "loop":
        trainer.restore()
        np.testing.assert_array_equal(trainer.evaluate(2), returns)
    else:  # as if it had never stopped
        assert {key: again[key] for key in again if "time" not in key and "second" not in key} == {
            key: third[key] for key in third if "time" not in key and "second" not in key
        }
    trainer.close()
