"""The examples in docstrings run. The list is explicit: collected as files, modules would be imported under second names."""

import doctest
import importlib
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
MODULES = [
    "agents.returns",
    "drivers.balance",
    "envs.gym",
    "envs.preprocessing",
    "evaluation.statistics",
    "experiments.callbacks",
    "experiments.presets",
    "experiments.pretty",
    "experiments.search_space",
    "experiments.sweep",
    "experiments.trainer",
    "learners.stateful",
    "metrics.metrics",
    "metrics.observer",
    "networks.sequential",
    "networks.summary",
    "policies.simple",
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    result = doctest.testmod(importlib.import_module(f"jax_agents.{name}"))
    assert result.attempted > 0, f"{name} has no examples: take it off the list"
    assert result.failed == 0


def test_the_list_is_complete():
    packages = [path.parent for path in ROOT.glob("*/__init__.py")]
    files = [file for package in packages for file in package.rglob("*.py")] + list(ROOT.glob("*.py"))
    having = {".".join(f.relative_to(ROOT).with_suffix("").parts) for f in files if ">>> " in f.read_text(encoding="utf-8")}
    assert sorted(having) == sorted(MODULES)
