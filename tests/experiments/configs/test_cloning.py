"""Behavioural cloning by the trainer: it learns, reports, saves, goes on exactly and acts."""

import dataclasses

import numpy as np
import pytest

from jax_agents.envs import classic
from jax_agents.experiments import BcConfig, TrainedAgent, Trainer, save_rows
from jax_agents.experiments.data.demonstrations import demonstrations

CONFIG = BcConfig(
    hidden=(8,),
    batch_size=16,
    steps_per_report=320,
    num_steps=960,
    learning_rate=3e-2,
    dataset_rows=400,
)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return str(
        save_rows(
            tmp_path_factory.mktemp("data") / "rows.npz",
            demonstrations("controller", classic.CartPole(), 400),
        )
    )


@pytest.mark.parametrize("runner", ["loop", "device"])
def test_it_learns_from_a_file_and_goes_on_exactly(file, runner, tmp_path):
    config = dataclasses.replace(CONFIG, dataset=file)
    trainer = Trainer(config, "CartPole-v1", runner=runner, run_folder=tmp_path)
    first, second = trainer.train(), trainer.train()
    assert trainer.replay_reason == f"none, it learns from {file}"
    assert [first["num_env_steps_sampled_lifetime"], second["num_env_steps_sampled_lifetime"]] == [
        320,
        640,
    ]
    assert (
        second["num_updates_lifetime"] == 40 == int(trainer.train_state.step)
        and second["episode_return_mean"] is None
    )
    assert second["loss"] < first["loss"] < 0.8
    trainer.save()
    third = trainer.run()
    assert third["num_env_steps_sampled_lifetime"] == 960
    again = Trainer(config, "CartPole-v1", runner=runner, run_folder=tmp_path)
    again.restore(2)
    assert again.train()["loss"] == third["loss"]
    again.save()
    acting = TrainedAgent.load(tmp_path)
    np.testing.assert_array_equal(acting.evaluate(2), trainer.evaluate(2))
    for one in (trainer, again):
        one.close()


def test_acting_needs_no_data():
    agent = dataclasses.replace(CONFIG, dataset="gone.npz").agent(classic.CartPole().specs)
    assert agent.specs.action.num_values == 2


def test_what_it_needs():
    for dataset in ("", "nowhere.npz"):
        with pytest.raises(ValueError, match=r"config dataset: expected a \.npz file of rows"):
            Trainer(dataclasses.replace(CONFIG, dataset=dataset), "CartPole-v1")
    with pytest.raises(ValueError, match="BC learns from a data set and steps no environment"):
        Trainer(CONFIG, "CartPole-v1", runner="vector")
    with pytest.raises(
        ValueError, match=r"controllers of CartPole and Pendulum alone \(runner 'device'\)"
    ):
        Trainer(dataclasses.replace(CONFIG, dataset="controller"), "CartPole-v1").train()
    trained = Trainer(
        dataclasses.replace(CONFIG, dataset="controller"), "Pendulum-v1", runner="device"
    ).train()
    assert np.isfinite(trained["loss"])
