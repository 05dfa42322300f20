"""The topologies run: in this process for every change, on actors nightly; that they learn is
recorded, not tested here.
"""

import importlib.util
import math
import pathlib
import subprocess
import sys
import time

import pytest

from jax_agents.learners.checkpoints import Checkpointer

FOLDER = pathlib.Path(__file__).parents[2] / "examples"
RUNS = {
    "a3c": {"num_steps": 400},
    "apex": {"num_steps": 400, "num_rows": 16},
    "es": {"num_steps": 500},
    "impala": {"num_steps": 1_000},
    "ppo": {"num_steps": 1_100},
    "sac": {
        "env_name": "Pendulum-v1",
        "num_steps": 400,
        "warmup_steps": 100,
        "updates_per_step": 0.1,
        "stop_return": 1e9,
        "updates_per_test": 10,
        "num_episodes": 1,
    },
}


def load(name):
    """An example as a module, which is sent to actors by value."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def result(value):
    return value[0] if isinstance(value, tuple) else value


def test_examples_are_short():
    files = sorted(FOLDER.glob("*.py"))
    assert {file.stem for file in files} >= set(RUNS)
    assert all(len(file.read_text(encoding="utf-8").splitlines()) <= 150 for file in files)


@pytest.mark.parametrize("name", ["apex", "impala"])
def test_in_this_process(name):
    options = {"num_episodes": 1} | RUNS[name]
    assert math.isfinite(result(load(name).main(num_actors=0, **options)))


@pytest.mark.nightly
@pytest.mark.parametrize("name", [name for name in RUNS if name not in ("apex", "impala")])
def test_the_others_in_this_process(name):
    options = {"num_episodes": 1} | RUNS[name]
    assert math.isfinite(result(load(name).main(num_actors=0, **options)))


@pytest.mark.nightly
@pytest.mark.parametrize("name", RUNS)
def test_on_actors(name, ray_on_this_machine):
    from ray import cloudpickle

    module = load(name)
    cloudpickle.register_pickle_by_value(module)
    options = {"num_episodes": 1} | RUNS[name] | {"num_steps": 10 * RUNS[name]["num_steps"]}
    assert math.isfinite(result(module.main(num_actors=2, **options)))


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("name", "algorithm", "env_name"),
    [("apex", "APEX_DDPG", "Pendulum-v1"), ("impala", "APPO", "CartPole-v1")],
)
def test_an_examples_other_algorithm_in_this_process(name, algorithm, env_name):
    options = RUNS[name] | {"num_actors": 0, "num_episodes": 1}
    assert math.isfinite(load(name).main(algorithm, env_name, **options))


@pytest.mark.nightly
def test_sac_goes_on_from_what_it_saved(tmp_path):
    sac = load("sac")
    # what it saves at the end
    options = RUNS["sac"] | {
        "num_actors": 0,
        "num_steps": 300,
        "folder": tmp_path,
    }
    steps = sac.main(**options)[1]
    again = sac.main(**options | {"num_steps": 600})[1]
    assert 300 <= steps < 600 <= again


@pytest.mark.nightly
def test_a_learner_that_is_killed_resumes(tmp_path):
    """SIGKILL while it trains: nothing is left running, and the next run goes on from there."""
    options = RUNS["sac"] | {"num_actors": 2, "num_steps": 20_000, "save_seconds": 1.0}
    known = (
        "env_name",
        "num_actors",
        "num_steps",
        "updates_per_step",
        "warmup_steps",
        "stop_return",
        "save_seconds",
    )
    given = {
        "env" if name == "env_name" else name: value
        for name, value in options.items()
        if name in known
    }
    arguments = [
        f"--{name.replace('_', '-')}={value}"
        for name, value in (given | {"folder": tmp_path}).items()
    ]
    command = [sys.executable, str(FOLDER / "sac.py"), *arguments]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    checkpoints = Checkpointer(tmp_path / "checkpoints")
    try:
        deadline = time.monotonic() + 120.0
        while len(checkpoints.steps()) < 2:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.2)
    finally:
        process.kill()
        process.wait()
    before = checkpoints.read_manifest(checkpoints.latest())["metadata"]["steps"]
    sac = load("sac")
    agent = sac.SacConfig(hidden=(256, 256)).agent(sac.gym.make("Pendulum-v1").specs)
    steps = sac.main(**options | {"num_actors": 0, "num_steps": before + 200, "folder": tmp_path})[
        1
    ]
    assert steps >= before + 200
    buffer = sac.HostReplay(
        agent.collect_data_spec, capacity=200_000, sequence_length=agent.train_sequence_length
    )
    buffer.load(checkpoints.path(checkpoints.latest()) / "replay")
    # Rows are points of a continuous space: one that came twice would be two windows that begin
    # alike.
    experience, info = next(buffer.as_dataset(50_000))
    begins = {}
    for observation, key in zip(experience.observation[:, 0], info.key.tolist(), strict=True):
        begins.setdefault(observation.tobytes(), set()).add(key)
    assert len(buffer) >= before and len(begins) > before // 2
    assert all(len(keys) == 1 for keys in begins.values())
