"""What a run folder names is not run, unless it is installed or the user says where it is."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from jax_agents import cli
from jax_agents.cli import modules
from jax_agents.cli.errors import UserError

TINY = {"hidden": [4], "warmup_steps": 20, "batch_size": 4, "steps_per_report": 30}
# Whoever imports it finds out.
PAYLOAD = """
import pathlib
pathlib.Path({marker!r}).touch()
from jax_agents.experiments import DqnConfig
class Own(DqnConfig): pass
"""
COMMANDS = {
    "evaluate": ["evaluate", "{run}", "--episodes", "1"],
    "rollout": ["rollout", "{run}"],
    "rollout of a checkpoint": ["rollout", "{run}/checkpoints/checkpoint_00000001"],
    "rollout of a server": ["rollout", "{run}", "--address", "http://127.0.0.1:1"],
    "serve": ["serve", "{run}", "--port", "0"],
    "serve --train": ["serve", "{run}", "--port", "0", "--train"],
    "resume": ["train", "--resume", "{run}", "--no-video", "--steps", "60"],
    "resume of all": ["train", "--resume", "{plan}", "--no-video"],
}
NAMES = {
    "env": {"env": "payload:CartPole-v1"},
    "run": {"run": "payload:Own"},
    "a part of a folder": {"env": "inner.payload:CartPole-v1"},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run folder of a few steps."""
    out = tmp_path_factory.mktemp("trained")
    argv = ["train", "--run", "DQN", "--env", "CartPole-v1", "--replay", "host", "--steps", "30"]
    argv += ["--config", json.dumps(TINY), "--out", str(out), "--no-video"]
    assert cli.main(argv) == 0
    (folder,) = out.iterdir()
    return folder


@pytest.fixture
def evil(trained, tmp_path, monkeypatch):
    """Makes a run folder that names a module, which lies there and in the working directory."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    monkeypatch.chdir(tmp_path)
    marker = tmp_path / "it was imported"

    def make(changes):
        run = tmp_path / "plan" / "seed_0"
        shutil.copytree(trained, run)
        params = json.loads((run / "params.json").read_text()) | changes
        (run / "params.json").write_text(json.dumps(params))
        (run / "evaluation.json").unlink()
        plan = {"jobs": [["seed_0", params]], "format": params["format"]}
        (tmp_path / "plan" / "plan.json").write_text(json.dumps(plan | _stamp(params)))
        for folder in (tmp_path, run, tmp_path / "plan", tmp_path / "inner", run / "inner"):
            folder.mkdir(exist_ok=True)
            (folder / "payload.py").write_text(PAYLOAD.format(marker=str(marker)))
        return {"run": str(run), "plan": str(tmp_path / "plan")}, marker

    yield make
    for name in ("payload", "inner.payload", "inner"):
        sys.modules.pop(name, None)


def _stamp(params):
    return {key: params[key] for key in ("format", "version") if key in params}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_imports_what_lies_around(evil, capsys, command, name):
    folders, marker = evil(NAMES[name])
    assert cli.main([part.format(**folders) for part in COMMANDS[command]]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1 and "--modules FOLDER" in error and "payload" in error
    assert not marker.exists()


@pytest.mark.parametrize("first", ["", ".", "the working directory", "the run folder"])
def test_nor_where_python_would_look_there(evil, capsys, tmp_path, first):
    """`python -m` and `PYTHONPATH` put the working directory first."""
    folders, marker = evil(NAMES["env"])
    named = {"the working directory": str(tmp_path), "the run folder": folders["run"]}
    sys.path.insert(0, named.get(first, first))
    assert cli.main(["evaluate", folders["run"]]) == 2
    assert not marker.exists() and "--modules" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["env", "run"])
def test_a_folder_that_the_user_names_is_trusted(evil, capsys, tmp_path, name):
    folders, marker = evil(NAMES[name])
    argv = ["evaluate", folders["run"], "--episodes", "1", "--modules"]
    assert cli.main([*argv, "nowhere"]) == 2
    assert "--modules: expected a folder" in capsys.readouterr().err
    assert cli.main([*argv, str(tmp_path)]) == 0
    assert marker.exists()


def test_what_a_user_types_is_found_in_the_working_directory(evil, capsys, tmp_path):
    _, marker = evil({})
    argv = ["train", "--run", "payload:Own", "--env", "payload:CartPole-v1", "--replay", "host"]
    argv += ["--steps", "30", "--config", json.dumps(TINY), "--no-video", "--out", "runs"]
    assert cli.main(argv) == 0 and marker.exists()
    assert cli.main(["list", "payload:Own"]) == 0
    (folder,) = (tmp_path / "runs").iterdir()
    # in another process, which has not imported it
    for more, status in (([], 2), (["--modules", "."], 0)):
        argv = [sys.executable, "-m", "jax_agents", "evaluate", str(folder), "--episodes", "1"]
        done = subprocess.run([*argv, *more], capture_output=True, text=True, timeout=120)
        assert done.returncode == status, done.stderr
        assert ("--modules FOLDER" in done.stderr) == bool(status)


def test_processes_that_are_started_find_the_modules_too(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PYTHONPATH", "/first")
    for _ in range(2):
        modules.use(str(tmp_path))
    assert os.environ["PYTHONPATH"] == os.pathsep.join(["/first", str(tmp_path)])
    assert sys.path[-1] == str(tmp_path)
    modules.use(None)
    with pytest.raises(UserError, match="--modules"):
        modules.use(str(tmp_path / "nothing"))
