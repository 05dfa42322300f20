"""The service of a trained agent, and learning by the configuration of a trainer."""

import json
import time

import jax
import numpy as np
import pytest

from jax_agents import cli, envs
from jax_agents.cli.run import load_agent
from jax_agents.experiments import DqnConfig, Trainer
from jax_agents.experiments.configs.policy_gradient import PpoConfig
from jax_agents.experiments.trained import run_folder
from jax_agents.serving import (
    LocalPolicyClient,
    OnPolicyLearning,
    PolicyClient,
    PolicyServerError,
    ReplayLearning,
    serve_in_background,
)
from jax_agents.serving.from_trainer import LearnedCheckpoints, make_learning, make_service

CONFIG = DqnConfig(
    num_steps=400, warmup_steps=100, steps_per_report=200, hidden=(16,), steps_per_iteration=4
)


def test_a_preprocessed_environment_trains_and_serves_the_same_actions(tmp_path, capsys):
    """FrozenLake's tiles become one-hot codes: in training, in `rollout` and `compute_action`, and
    in the server.
    """
    settings = {
        "hidden": [8],
        "warmup_steps": 60,
        "batch_size": 4,
        "steps_per_report": 80,
        "replay_capacity": 500,
        "dueling": True,
    }
    config = json.dumps(settings)
    command = [
        "train",
        "--run",
        "DQN",
        "--env",
        "FrozenLake-v1",
        "--replay",
        "host",
        "--config",
        config,
        "--steps",
        "80",
    ]
    assert cli.main([*command, "--no-video", "--out", str(tmp_path)]) == 0
    (folder,) = tmp_path.iterdir()
    capsys.readouterr()
    assert cli.main(["rollout", str(folder), "--episodes", "2"]) == 0
    returns = capsys.readouterr().out.splitlines()[1:]
    trainer = load_agent(str(folder))
    assert repr(trainer.preprocessor).startswith("Preprocessor(one-hot: Discrete(16) -> Box(")
    assert trainer.agent.specs.observation.shape == (16,)
    expected = [int(trainer.compute_action(tile)) for tile in range(16)]
    assert (
        expected
        == np.argmax(trainer.get_policy().q_values(np.eye(16, dtype=np.float32)), axis=-1).tolist()
    )
    assert len(set(expected)) > 1
    with pytest.raises(
        envs.SpecError, match=r"observation: expected a member of Discrete\(16\), got 16"
    ):
        trainer.compute_action(16)
    with serve_in_background(make_service(trainer, max_batch_size=2)) as address:
        client = PolicyClient(address)
        assert client.specs()["observation"] == str(envs.DiscreteSpec(16))
        local = LocalPolicyClient(address, trainer.agent, preprocessor=trainer.preprocessor)
        for each in (client, local):
            episode = each.start_episode()
            assert [int(each.get_action(episode, tile)) for tile in range(16)] == expected
            each.end_episode(episode, 0)
        with pytest.raises(
            PolicyServerError, match=r"observation: 1 of 1 numbers lie outside 0\.\.15: \[16\]"
        ):
            client.get_action(client.start_episode(), 16)
        capsys.readouterr()
        assert cli.main(["rollout", str(folder), "--address", address, "--episodes", "1"]) == 0
        assert capsys.readouterr().out.splitlines() == returns[:1]


def test_how_each_kind_learns():
    off_policy = Trainer(CONFIG, "CartPole-v1", replay="host")
    assert isinstance(make_learning(off_policy), ReplayLearning)
    off_policy.close()
    on_policy = Trainer(
        PpoConfig(num_envs=2, num_rows=8, num_minibatches=2, hidden=(4,)), "CartPole-v1"
    )
    assert isinstance(make_learning(on_policy), OnPolicyLearning)
    on_policy.close()

    class Es:
        config, agent, train_state, seed = None, object(), None, 0

    with pytest.raises(TypeError, match="object does not learn from episodes of clients"):
        make_learning(Es())


def learned(trainer, learning, steps):
    """Has a learning take steps of a random client, and learn from all."""
    rng = np.random.default_rng(0)
    with serve_in_background(make_service(trainer, learning, max_batch_size=1)) as address:
        client = PolicyClient(address)
        episode = client.start_episode()
        for _ in range(steps):
            client.get_action(episode, rng.normal(size=4))
            client.log_returns(episode, 1.0)
        client.end_episode(episode, np.zeros(4), truncated=True)
        while client.health()["updates_owed"] > 0:
            time.sleep(0.01)


@pytest.fixture
def trainer(tmp_path):
    folder = run_folder.create_run_folder(tmp_path, "DQN", "CartPole-v1")
    trainer = Trainer(CONFIG, "CartPole-v1", run_folder=folder, replay="host")
    yield trainer
    trainer.close()


def test_the_learned_state_is_saved_in_the_trainers_folder(trainer):
    learning = make_learning(trainer)
    checkpoints = LearnedCheckpoints(trainer, learning)
    assert checkpoints.save() is None  # nothing was learned
    learned(trainer, learning, 120)
    assert learning.num_updates == (120 - 100) // 4
    assert checkpoints.save() == trainer.checkpointer.path(1)
    restored = Trainer(CONFIG, "CartPole-v1", run_folder=trainer.run_folder, replay="host")
    restored.restore()
    assert int(restored.train_state.step) == restored.num_updates == learning.num_updates
    restored.close()


def test_saving_again_and_again_keeps_what_the_training_saved(trainer):
    for _ in range(3):  # as many as are kept
        trainer.training_iteration += 1
        trainer.save()
    learning = make_learning(trainer)
    checkpoints = LearnedCheckpoints(trainer, learning)
    learned(trainer, learning, 120)
    assert checkpoints.save() == trainer.checkpointer.path(4)
    assert checkpoints.save() == trainer.checkpointer.path(4)  # nothing is new
    for step in (5, 6):
        learning._attempts += 1  # stands for an update
        assert checkpoints.save() == trainer.checkpointer.path(step)
        assert trainer.checkpointer.steps() == [2, 3, step]
    assert trainer.checkpointer.keep == 3 and trainer.num_updates == learning.num_updates


def test_a_checkpoint_that_cannot_be_written_counts_for_nothing(trainer, monkeypatch):
    learning = make_learning(trainer)
    checkpoints = LearnedCheckpoints(trainer, learning)
    learned(trainer, learning, 120)

    def full():
        raise OSError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(trainer, "save", full)
        with pytest.raises(OSError, match="no space"):
            checkpoints.save()
    assert trainer.num_updates == 0
    assert checkpoints.save() == trainer.checkpointer.path(1)
    assert trainer.num_updates == learning.num_updates > 0


def test_what_is_not_finite_is_not_saved(trainer):
    learning = make_learning(trainer)
    learned(trainer, learning, 120)
    params = jax.tree.map(lambda x: x * np.nan, learning.state.params)
    learning.state = learning.state.replace(params=params)
    with pytest.raises(ValueError, match="not finite, and were not saved"):
        LearnedCheckpoints(trainer, learning).save()
    assert not trainer.checkpointer.steps()
