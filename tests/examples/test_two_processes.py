"""`examples/two_processes.py` runs and compares both processes; neither outlives it."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "two_processes.py"


@pytest.mark.nightly
def test_two_processes_train_as_one_device_does(tmp_path):
    result = subprocess.run(
        [sys.executable, SCRIPT], cwd=tmp_path, capture_output=True, text=True, timeout=290
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    # four reports of each, between which gloo may print on the same line
    assert result.stdout.count("2 of 4 devices") == 8
    assert (
        result.stdout.splitlines()[-1]
        == "4 leaves: equal in both processes, and those of one device"
    )


def test_processes_that_take_too_long_are_ended(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("two_processes", SCRIPT)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    started = []
    popen = subprocess.Popen

    def note(*args, **kwargs):
        started.append(popen(*args, **kwargs))
        return started[-1]

    monkeypatch.setattr(example.subprocess, "Popen", note)
    with pytest.raises(RuntimeError, match=r"not done in 0.1 s"):
        example.launch(tmp_path, timeout=0.1)
    assert [process.returncode for process in started] == [-9, -9]
