"""The command as a whole: its help, and who reads its output."""

import subprocess
import sys

import pytest

from jax_agents import cli
from jax_agents.cli import run


def test_help_has_examples(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["train", "--help"])
    assert caught.value.code == 0
    assert "jax-agents train --run DQN --env CartPole-v1" in capsys.readouterr().out


def test_only_a_closed_standard_output_ends_quietly(tmp_path, monkeypatch, capsys, train):
    listing = subprocess.run(
        f"{sys.executable} -m jax_agents list | head -n 1; echo ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
    )
    assert (
        listing.stdout.startswith("algorithms")
        and listing.stdout.splitlines()[-1] == "0"
        and listing.stderr == ""
    )

    def lost(params, **_):
        raise BrokenPipeError(32, "Broken pipe")  # of a socket, say

    monkeypatch.setattr(run, "run_job", lost)
    with open(tmp_path / "out", "w") as file:
        monkeypatch.setattr(sys, "stdout", file)
        assert cli.main(train()) == 1
    assert capsys.readouterr().err == "jax-agents: error: Broken pipe\n"
