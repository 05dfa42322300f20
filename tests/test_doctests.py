"""The examples in docstrings run. Modules are imported by name: as files they would be imported
under second names.
"""

import doctest
import importlib
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
FILES = [file for package in ROOT.glob("*/__init__.py") for file in package.parent.rglob("*.py")]
MODULES = sorted(
    ".".join(f.relative_to(ROOT).with_suffix("").parts)
    for f in FILES
    if ">>> " in f.read_text(encoding="utf-8")
)


def test_examples_are_found():
    assert {"agents.returns", "experiments.training.trainer"} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    result = doctest.testmod(importlib.import_module(f"jax_agents.{name}"))
    assert result.attempted > 0 and result.failed == 0
