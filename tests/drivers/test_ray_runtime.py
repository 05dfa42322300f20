"""Ray starts its processes in this environment, unless it is told otherwise."""

import os
import signal

import pytest

from jax_agents.drivers.ray_runtime import (
    cpu_environment,
    import_ray,
    learner_environment,
    start_ray,
)

NAME = "RAY_ENABLE_UV_RUN_RUNTIME_ENV"


@pytest.mark.parametrize(("given", "expected"), [(None, "0"), ("1", "1")])
def test_uv_makes_no_environment_for_each_actor_unless_asked(monkeypatch, given, expected):
    monkeypatch.setenv(NAME, given or "")
    if given is None:
        monkeypatch.delenv(NAME)
    assert import_ray().__name__ == "ray" and os.environ[NAME] == expected


def test_actors_compute_on_one_cpu_whatever_is_simulated_here():
    variables = cpu_environment()  # the tests simulate four devices
    assert "force_host" not in variables["XLA_FLAGS"] and variables["JAX_PLATFORMS"] == "cpu"


def test_learners_without_a_gpu_see_none_and_those_that_share_one_share_its_memory(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=4 --xla_dump_to=there")
    assert learner_environment(0) == {
        "XLA_FLAGS": "--xla_dump_to=there",
        "JAX_PLATFORMS": "cpu",
        "CUDA_VISIBLE_DEVICES": "",
    }
    assert learner_environment(1) == {"XLA_FLAGS": "--xla_dump_to=there"}
    assert learner_environment(0.5) == {
        "XLA_FLAGS": "--xla_dump_to=there",
        "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.450",
    }


@pytest.mark.parametrize("own", [True, False])
def test_ray_takes_the_place_of_no_handler_that_the_program_has_set(monkeypatch, own):
    """`ray.init` sets one that ends the process; it is kept where the program has none."""

    def theirs(number, frame):
        raise AssertionError

    def ours(number, frame):
        pass

    ray = import_ray()
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda: signal.signal(signal.SIGTERM, theirs))
    before = signal.signal(signal.SIGTERM, ours if own else signal.SIG_DFL)
    try:
        assert start_ray() is ray
        assert signal.getsignal(signal.SIGTERM) is (ours if own else theirs)
    finally:
        signal.signal(signal.SIGTERM, before)
