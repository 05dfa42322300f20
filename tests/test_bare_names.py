"""A folder of the root is refused under its bare name, which would make a second set of classes."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))
PROGRAM = """
import importlib, sys
sys.path.insert(0, sys.argv[1])
for name in sys.argv[2:]:
    try:
        importlib.import_module(name)
        print(f"{name}: imported")
    except ImportError as error:
        print(f"{name}: {error}")
"""


def run(*names: str, cwd: Path) -> list[str]:
    """The lines that importing these names with the root on the path prints, one for each."""
    command = [sys.executable, "-c", PROGRAM, str(ROOT), *names]
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def test_finds_the_folders():
    assert {"envs", "agents", "cli", "serving"} <= set(FOLDERS)


def test_every_folder_is_refused_in_one_line(tmp_path):
    lines = run(*FOLDERS, cwd=tmp_path)
    assert lines == [f"{name}: import jax_agents.{name} instead of {name}" for name in FOLDERS]


@pytest.mark.parametrize("name", FOLDERS)
def test_is_refused_with_the_root_as_the_working_directory(name):
    command = [sys.executable, "-c", f"import {name}"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert result.returncode == 1
    refusal = f"ImportError: import jax_agents.{name} instead of {name}"
    assert result.stderr.splitlines()[-1] == refusal


def test_a_file_of_a_folder_is_refused_too(tmp_path):
    assert run("envs.types", cwd=tmp_path) == ["envs.types: import jax_agents.envs instead of envs"]


def test_the_package_is_imported_with_the_root_on_the_path(tmp_path):
    names = [f"jax_agents.{name}" for name in FOLDERS]
    assert run(*names, cwd=tmp_path) == [f"{name}: imported" for name in names]
