"""`jax-agents serve` and `rollout --address`: as processes, with signals; the same actions as in
training; learning on.
"""

import json
import signal
import subprocess
import sys

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
    PolicyService,
    ReplayLearning,
    serve_in_background,
)
from jax_agents.serving.from_trainer import make_learning, make_service
from jax_agents.serving.rollout import remote_returns

CONFIG = DqnConfig(
    num_steps=400, warmup_steps=100, steps_per_report=200, hidden=(16,), steps_per_iteration=4
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run folder with a checkpoint, and the trainer that made it."""
    folder = run_folder.create_run_folder(tmp_path_factory.mktemp("runs"), "DQN", "CartPole-v1")
    params = {
        "run": "DQN",
        "env": "CartPole-v1",
        "seed": 0,
        "runner": "loop",
        "replay": "host",
        "checkpoint_freq": 0,
    }
    params |= {
        "stop": {"num_env_steps_sampled_lifetime": 400},
        "config": CONFIG.settings(),
        "version": "0",
    }
    run_folder.write_params(folder, params)
    trainer = Trainer(CONFIG, "CartPole-v1", run_folder=folder, replay="host")
    trainer.run()
    yield folder, trainer
    trainer.close()


def test_serve_and_rollout_act_as_the_training_process_did(trained, capsys):
    """Bit for bit: the policy that trained, the one restored for `rollout`, and the server, in the
    same episode.
    """
    folder, trainer = trained
    expected = "".join(
        f"episode {i}: return {total:g}\n" for i, total in enumerate(trainer.evaluate(3))
    )
    assert cli.main(["rollout", str(folder), "--episodes", "3"]) == 0
    assert capsys.readouterr().out.endswith(expected)
    with serve_in_background(
        PolicyService(trainer.agent, trainer.train_state, max_batch_size=2)
    ) as address:
        assert cli.main(["rollout", str(folder), "--address", address, "--episodes", "3"]) == 0
        assert capsys.readouterr().out == expected
        client, observations = (
            PolicyClient(address),
            np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32),
        )
        episode = client.start_episode()
        served = [client.get_action(episode, observation) for observation in observations]
    assert served == [trainer.compute_action(observation) for observation in observations]


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


def test_a_process_that_learns_and_saves_at_sigterm(trained):
    folder, trainer = trained
    before = trainer.checkpointer.latest()
    command = [
        sys.executable,
        "-m",
        "jax_agents",
        "serve",
        str(folder),
        "--port",
        "0",
        "--train",
        "--token",
        "sesame",
    ]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        lines = iter(server.stdout.readline, "")
        address = (
            next(line for line in lines if line.startswith("serving at ")).split()[2].rstrip(",")
        )
        returns = remote_returns(envs.gym.make("CartPole-v1"), PolicyClient(address, "sesame"), 6)
        health = PolicyClient(address, "sesame").health()
        server.send_signal(signal.SIGTERM)
        out, err = server.communicate(timeout=60)
    finally:
        server.kill()
    assert server.returncode == 0, err
    assert health["num_steps"] == returns.sum() and health["learning"]
    assert trainer.checkpointer.latest() == before + 1 and f"checkpoint_{before + 1:08d}" in out
    restored = Trainer(CONFIG, "CartPole-v1", run_folder=folder, replay="host")
    restored.restore()
    # Replay was there already, so that every step counted: an update for each four.
    owed = int((returns.sum() - 1) / 4)
    assert owed - 16 <= restored.num_updates - trainer.num_updates <= owed
    assert int(restored.train_state.step) == restored.num_updates
    # Rows of the clients are in the replay that was saved.
    assert len(restored.runner.replay) > len(trainer.runner.replay)
    restored.close()


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


def test_continuous_actions_and_several_episodes(dqn):
    """The client's side by itself: dtypes, resets and truncation, against a client that only takes
    notes.
    """
    notes = []

    class Client:
        def start_episode(self, training_enabled):
            notes.append(("start", training_enabled))
            return str(len(notes))

        def get_action(self, episode, observation):
            return [0.5]

        def log_returns(self, episode, reward):
            pass

        def end_episode(self, episode, observation, truncated):
            notes.append(("end", truncated))

    env = envs.gym.make("Pendulum-v1", max_episode_steps=5)
    seen = []
    returns = remote_returns(env, Client(), 2, on_episode=lambda i, r: seen.append((i, r)))
    assert returns.shape == (2,) and (returns < 0).all() and [i for i, _ in seen] == [0, 1]
    assert notes == [("start", None), ("end", True)] * 2
    with pytest.raises(ValueError, match="unbatched environment and at least 1 episode"):
        remote_returns(env, Client(), 0)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["serve", "{}", "--host", "0.0.0.0", "--port", "0"], "serving at 0.0.0.0 without a token"),
        (["serve", "/nowhere"], "nowhere"),
        (
            ["rollout", "{}", "--address", "nowhere"],
            "address: expected one such as http://127.0.0.1:8000",
        ),
        (
            ["rollout", "{}", "--address", "http://127.0.0.1:9", "--video", "x.mp4"],
            "leave out --address",
        ),
    ],
)
def test_mistakes_are_one_line(trained, arguments, told, capsys):
    assert cli.main([argument.format(trained[0]) for argument in arguments]) == 2
    err = capsys.readouterr().err
    assert told in err and len(err.splitlines()) == 1


def test_a_server_that_is_not_there(trained, capsys):
    assert cli.main(["rollout", str(trained[0]), "--address", "http://127.0.0.1:1"]) == 2
    told = capsys.readouterr().err
    assert (
        told.startswith("jax-agents: error: http://127.0.0.1:1: no answer")
        and told.count("\n") == 1
    )
