"""Ray starts its processes in this environment, unless it is told otherwise."""

import os

import pytest
from jax_agents.drivers.ray_runtime import import_ray

NAME = "RAY_ENABLE_UV_RUN_RUNTIME_ENV"


@pytest.mark.parametrize(("given", "expected"), [(None, "0"), ("1", "1")])
def test_uv_makes_no_environment_for_each_actor_unless_asked(monkeypatch, given, expected):
    monkeypatch.setenv(NAME, given or "")
    if given is None:
        monkeypatch.delenv(NAME)
    assert import_ray().__name__ == "ray" and os.environ[NAME] == expected
