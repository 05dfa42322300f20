"""A trained agent from a run folder: what it was, its environment, and what it has to be given."""

import gymnasium
import jax
import numpy as np
import pytest

from jax_agents import envs
from jax_agents.experiments import DqnConfig, PpoConfig, TrainedAgent, Trainer
from jax_agents.experiments.trained.run_folder import RunFolderError

TINY = {"hidden": (8,), "num_envs": 2, "num_rows": 8, "iterations_per_report": 1}


def train(folder, env, config, **options):
    trainer = Trainer(config, env, run_folder=folder, seed=3, **options)
    trainer.train()
    trainer.save()
    return trainer


@pytest.mark.parametrize("runner", ["loop", "device"])
def test_it_acts_as_the_trainer_that_saved_it(runner, tmp_path):
    config = PpoConfig(**TINY, num_minibatches=1, normalize_observations=True)
    trainer = train(tmp_path, "CartPole-v1", config, runner=runner)
    trained = TrainedAgent.load(tmp_path)
    assert trained.config == config and trained.env == "CartPole-v1" and trained.seed == 3
    assert trained.checkpoint == trainer.checkpointer.path(1)
    equal = lambda x, y: np.testing.assert_array_equal(x, y)
    jax.tree.map(equal, trained.get_weights(), trainer.get_weights())
    np.testing.assert_array_equal(trained.evaluate(3), trainer.evaluate(3))
    observation = np.array([0.1, -0.2, 0.05, 0.3], np.float32)
    assert trained.compute_action(observation) == trainer.compute_action(observation)
    assert trained.value(observation) == trainer.value(observation)
    assert trained.get_policy() is trained
    trainer.close()


def test_an_environment_without_a_name_is_given_again(tmp_path):
    make = lambda: gymnasium.make("CartPole-v1")
    config = DqnConfig(hidden=(8,), warmup_steps=20, batch_size=4, steps_per_report=40)
    train(tmp_path, make, config, replay="host").close()
    with pytest.raises(ValueError, match="lambda"):
        TrainedAgent.load(tmp_path)
    trained = TrainedAgent.load(tmp_path, make)
    assert trained.evaluate(2).shape == (2,)


def test_a_configuration_of_ones_own_is_given_again(tmp_path):
    class OwnConfig(DqnConfig):
        pass

    config = OwnConfig(
        algorithm="OWN", hidden=(8,), warmup_steps=20, batch_size=4, steps_per_report=40
    )
    trainer = train(tmp_path, envs.classic.CartPole(), config, runner="device")
    assert trainer.algorithm == "OWN"
    with pytest.raises(ValueError, match=r"no algorithm '.*<locals>.OwnConfig'"):
        TrainedAgent.load(tmp_path)
    trained = TrainedAgent.load(tmp_path, envs.classic.CartPole(), config)
    np.testing.assert_array_equal(trained.evaluate(2), trainer.evaluate(2))


def test_what_is_no_run(tmp_path):
    with pytest.raises(RunFolderError, match="there is no folder"):
        TrainedAgent.load(tmp_path / "nowhere")
    with pytest.raises(RunFolderError, match="is not the folder of a run"):
        TrainedAgent.load(tmp_path)


def test_its_environments_are_like_the_one_it_was_trained_in(tmp_path):
    config = PpoConfig(**TINY, num_minibatches=1, max_episode_steps=7)
    train(tmp_path, "CartPole-v1", config).close()
    trained = TrainedAgent.load(tmp_path)
    env = trained.make_environment(2)
    assert env.num_envs == 2
    env.close()
    assert trained.evaluate(4).max() <= 7
    path = trained.video(tmp_path / "a.mp4")
    assert path.stat().st_size > 0
