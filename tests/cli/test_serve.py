"""`jax-agents serve` and `rollout --address`: as processes, with signals, and what they refuse."""

import contextlib
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from jax_agents import cli, envs
from jax_agents.experiments import DqnConfig, Trainer
from jax_agents.experiments.trained import run_folder
from jax_agents.learners.checkpoints import Checkpointer
from jax_agents.serving import PolicyClient, PolicyService, serve_in_background
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


@contextlib.contextmanager
def serving(*argv):
    """A process that serves, with its address; killed at the end."""
    server = subprocess.Popen(
        [sys.executable, "-m", "jax_agents", "serve", "--port", "0", *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        lines = iter(server.stdout.readline, "")
        address = next(line for line in lines if line.startswith("serving at ")).split()[2]
        yield server, address.rstrip(",")
    finally:
        server.kill()
        server.communicate()


def test_a_process_that_learns_saves_at_sigterm_within_ten_seconds(trained):
    """Half a request is open then, whose rest never comes."""
    folder, trainer = trained
    before = trainer.checkpointer.latest()
    half = b"POST /v1/episodes HTTP/1.1\r\nauthorization: Bearer sesame\r\ncontent-length: 9\r\n"
    with serving(str(folder), "--train", "--token", "sesame") as (server, address):
        returns = remote_returns(envs.gym.make("CartPole-v1"), PolicyClient(address, "sesame"), 6)
        health = PolicyClient(address, "sesame").health()
        port = int(address.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(half + b"content-type: application/json\r\n\r\n{")
            time.sleep(0.2)
            began = time.monotonic()
            server.send_signal(signal.SIGTERM)
            out, err = server.communicate(timeout=60)
            seconds = time.monotonic() - began
    assert server.returncode == 0, err
    assert seconds < 10
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


def test_a_process_that_is_killed_loses_no_more_than_the_seconds_that_are_said(trained, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(trained[0], folder)
    kept = Checkpointer(folder / "checkpoints")
    before = kept.latest()
    updates = kept.read_manifest(before)["metadata"]["num_updates"]
    with serving(str(folder), "--train", "--checkpoint-seconds", "0.5") as (server, address):
        client = PolicyClient(address)
        remote_returns(envs.gym.make("CartPole-v1"), client, 6)
        deadline = time.monotonic() + 60
        while client.health()["updates_owed"] > 0 and time.monotonic() < deadline:
            time.sleep(0.05)
        learned = client.health()["num_updates"]
        time.sleep(2.0)
        server.kill()
        server.communicate()
    restored = Trainer(CONFIG, "CartPole-v1", run_folder=folder, replay="host")
    restored.restore()
    assert learned > 0 and int(restored.train_state.step) == updates + learned
    assert before in kept.steps() and kept.latest() > before
    restored.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serve", "{}", "--host", "0.0.0.0", "--port", "0"], "serving at 0.0.0.0 without a token"),
        (["serve", "/nowhere"], "nowhere"),
        (["serve", "{}", "--checkpoint-seconds", "5"], "expected more than 0 seconds, and --train"),
        (["serve", "{}", "--train", "--checkpoint-seconds", "0"], "expected more than 0 seconds"),
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
def test_mistakes_are_one_line(trained, arguments, message, capsys):
    assert cli.main([argument.format(trained[0]) for argument in arguments]) == 2
    err = capsys.readouterr().err
    assert message in err and len(err.splitlines()) == 1


@pytest.mark.parametrize("option", [[], ["--token", ""]])
def test_an_empty_token_lets_nobody_in(trained, option, monkeypatch, capsys):
    """As a variable it is none, which is refused where others can reach; as an option a mistake."""
    monkeypatch.setenv("JAX_AGENTS_TOKEN", "")
    argv = ["serve", str(trained[0]), "--host", "0.0.0.0", "--port", "0"]
    assert cli.main([*argv, *option]) == 2
    expected = "token: expected a secret, got an empty text" if option else "without a token"
    assert expected in capsys.readouterr().err


def test_a_run_that_is_trained_elsewhere_keeps_its_checkpoints(trained, capsys):
    """Restoring an older checkpoint deletes the newer ones, which another process may need."""
    folder, trainer = trained
    trainer.checkpointer.discard_after(trainer.training_iteration)  # those of other tests
    trainer.train()
    newer = trainer.save()
    older = trainer.checkpointer.path(trainer.checkpointer.steps()[0])
    with run_folder.lock(folder):
        assert cli.main(["serve", str(older), "--train"]) == 2
    assert "another process" in capsys.readouterr().err
    assert newer.is_dir() and older.is_dir() and newer != older


def test_a_server_that_is_not_there(trained, capsys):
    assert cli.main(["rollout", str(trained[0]), "--address", "http://127.0.0.1:1"]) == 2
    message = capsys.readouterr().err
    assert (
        message.startswith("jax-agents: error: http://127.0.0.1:1: no answer")
        and message.count("\n") == 1
    )
