"""A run of a few seconds, and what its command is given and gives."""

import json

import pytest

from jax_agents import cli

TINY = {
    "hidden": [8],
    "warmup_steps": 50,
    "batch_size": 4,
    "steps_per_report": 50,
    "steps_per_iteration": 1,
    "replay_capacity": 500,
}


@pytest.fixture
def train(tmp_path):
    """The arguments that train a small agent below `tmp_path`, with some more of them, and settings
    instead of its own.
    """

    def train(*more, config=None):
        base = [
            "train",
            "--run",
            "DQN",
            "--env",
            "CartPole-v1",
            "--replay",
            "host",
            "--config",
            json.dumps(TINY | (config or {})),
        ]
        return [*base, "--out", str(tmp_path / "runs"), *more]

    return train


@pytest.fixture
def only_run(tmp_path):
    """The folder of the one run there is."""

    def only_run():
        (folder,) = (tmp_path / "runs").iterdir()
        return folder

    return only_run


@pytest.fixture
def fails(capsys):
    """What a command that must fail says; without a traceback."""

    def fails(*argv):
        try:
            status = cli.main(argv)
        except SystemExit as error:  # argparse's own
            status = error.code
        captured = capsys.readouterr()
        assert status == 2
        assert "Traceback" not in captured.err
        return captured.err

    return fails
