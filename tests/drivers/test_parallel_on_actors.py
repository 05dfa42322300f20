"""Drivers on Ray actors, whatever happens to these; what blocks are is in `test_parallel.py`."""

import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from jax_agents.drivers import ParallelDriver, RemoteParameterServer, Supervision
from jax_agents.envs.specs import ArraySpec, DiscreteSpec, EnvironmentSpecs, trajectory_spec
from jax_agents.policies import with_version
from jax_agents.replay import has_reverb

SPECS = EnvironmentSpecs(ArraySpec((2,), np.int32), DiscreteSpec(3))


def random_policy(specs):
    from jax_agents.policies import RandomPolicy

    return RandomPolicy(specs.action)


def by_value(*functions):
    """Sends what this module defines by value: actors cannot import it."""
    from ray import cloudpickle

    for function in functions:
        cloudpickle.register_pickle_by_value(sys.modules[function.__module__])


def check_rows(blocks):
    """No row came twice, and of each process none is missing. Their numbers, by process."""
    seen = {}
    for block in blocks:
        observation = block.rows.observation
        assert (observation[:, 0] == observation[:, -1]).all()
        pid = observation[0, 0, 0]
        seen.setdefault(pid, []).extend(observation[:, 0, 1].tolist())
    for numbers in seen.values():
        assert numbers == list(range(len(numbers)))
    return {pid: len(numbers) for pid, numbers in seen.items()}


def test_actors_go_on_whatever_dies(ray_on_this_machine, environments, tmp_path):
    by_value(environments, random_policy)
    parameters = RemoteParameterServer(tmp_path / "parameters", save_seconds=0.0)
    flag = tmp_path / "failed"
    failures = []
    options = {
        "num_rows": 8,
        "supervision": Supervision(timeout=30.0, backoff=0.1, on_failure=failures.append),
        "parameters": parameters,
    }
    make_env = environments(failure="exit", flag=str(flag), sleep=0.001)
    with ParallelDriver(
        make_env, random_policy, num_actors=2, row_versions=True, **options
    ) as driver:
        driver.publish(0, {"x": np.zeros(50_000, np.float32)})  # too large to travel in an answer
        blocks = list(driver.run(num_steps=200))
        # until one has exited, and is there again
        while not failures or None in driver.supervisor.pids():
            blocks += driver.poll(timeout=1.0)
        os.kill(parameters.pid(), signal.SIGKILL)
        for version in range(1, 200):
            driver.publish(version, {"x": np.full(50_000, version, np.float32)})
            blocks += driver.poll(timeout=0.2)
            if blocks[-1].version > 0 and {b.actor for b in blocks if b.version > 0} == {0, 1}:
                break
        else:
            raise AssertionError("the actors did not get the newer parameters")
        pids = driver.supervisor.pids()
        report = driver.report()
    assert [failure.cause for failure in failures] == ["died"] and report["actors_died"] == report[
        "restarts"
    ] == 1
    rows = check_rows(blocks)
    assert len(rows) == 3 and set(pids) < set(rows)
    assert {(b.actor, b.generation) for b in blocks} > {(0, 0), (1, 0)}
    assert all((b.rows.policy_info["version"] == b.version).all() for b in blocks)
    assert report["staleness_max"] >= 0 and 1 <= report["blocks_lost"] <= 2
    parameters.close()


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("failure", "cause", "told"),
    [("raise", "error", "inside the environment"), ("spin", "hung", "fail")],
)
def test_an_environment_that_raises_or_hangs_is_replaced(
    ray_on_this_machine, environments, tmp_path, failure, cause, told
):
    by_value(environments, random_policy)
    failures = []
    make_env = environments(failure=failure, flag=str(tmp_path / "failed"), sleep=0.001)
    rules = Supervision(timeout=15.0, backoff=0.1, on_failure=failures.append)
    with ParallelDriver(
        make_env, random_policy, num_actors=2, num_rows=8, supervision=rules
    ) as driver:
        driver.publish(0, {})
        blocks = list(driver.run(num_steps=500))
        while len({(b.actor, b.generation) for b in blocks}) < 3:
            blocks += driver.poll(timeout=1.0)
    assert [f.cause for f in failures] == [cause] and told in failures[0].message
    check_rows(blocks)


@pytest.mark.nightly
def test_eight_actors_are_seven_times_as_fast_as_one_where_environments_take_50_ms(
    ray_on_this_machine, environments
):
    by_value(environments, random_policy)

    def steps_per_second(num_actors):
        with ParallelDriver(
            environments(None, sleep=0.05), random_policy, num_actors=num_actors, num_rows=8
        ) as driver:
            driver.publish(0, {})
            blocks = []
            # all are compiled
            while (
                min(sum(block.actor == actor for block in blocks) for actor in range(num_actors))
                < 2
            ):
                blocks += driver.poll(timeout=1.0)
            start = time.monotonic()
            steps = driver.num_steps
            while time.monotonic() - start < 10.0:
                driver.poll(timeout=1.0)
            return (driver.num_steps - steps) / (time.monotonic() - start)

    assert steps_per_second(8) >= 7 * steps_per_second(1)


@pytest.mark.nightly
def test_a_replay_server_is_killed_and_comes_back(ray_on_this_machine, environments, tmp_path):
    """What was there at the checkpoint is there again; what is written again comes once. Rows carry
    the version that acted.
    """
    if not has_reverb():
        pytest.skip("Reverb is not installed")
    by_value(environments, random_policy)
    spec = with_version(trajectory_spec(SPECS))

    def serve(port):
        options = ("--capacity", "100000", "--checkpoint-dir", str(tmp_path), "--port", str(port))
        command = [sys.executable, "-m", "jax_agents", "replay-server", *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert "replay server at" in process.stdout.readline()
        return process

    with socket.socket() as probe:
        probe.bind(("", 0))
        port = probe.getsockname()[1]

    def make_replay():
        from jax_agents.replay import RemoteReplay

        return RemoteReplay(spec, f"localhost:{port}", timeout=60.0)

    def rows_by_process(replay):
        """The items that begin with each row, by process and the row's number, as their keys say;
        and the rows' versions.
        """
        dataset = replay.as_dataset(500)
        items = {}
        versions = set()
        for _ in range(150):
            experience, info = next(dataset)
            for (pid, number), key in zip(
                experience.observation[:, 0].tolist(), info.key.tolist(), strict=True
            ):
                items.setdefault((pid, number), set()).add(key)
            versions.update(experience.policy_info["version"].ravel().tolist())
        return items, versions

    process = serve(port)
    try:
        options = {
            "num_rows": 8,
            "make_replay": make_replay,
            "row_versions": True,
            "supervision": Supervision(timeout=120.0, backoff=0.1),
        }
        with ParallelDriver(
            environments(None, sleep=0.005), random_policy, num_actors=2, **options
        ) as driver:
            driver.publish(0, {})
            list(driver.run(num_steps=500))
            reader = make_replay()
            # before the checkpoint: what actors write after it may be lost
            saved, first = rows_by_process(reader)
            reader.checkpoint()
            process.kill()
            process.wait()
            before = driver.num_steps
            process = serve(port)
            driver.publish(1, {}, wait=True)
            list(driver.run(num_steps=500))
            report = driver.report()
        after, versions = rows_by_process(reader)
        reader.close()
    finally:
        process.kill()
    assert report["restarts"] == 0 and before >= 500 and first == {0} and versions == {0, 1}
    assert len(saved) > 300 and set(saved) <= set(after)
    assert all(len(keys) == 1 for keys in after.values())


TWO_NODES = """
import os, sys
import ray
from ray.cluster_utils import Cluster
from jax_agents.drivers import ParallelDriver, Supervision

folder = sys.argv[1]
head = {"num_cpus": 2, "object_store_memory": 100_000_000}
cluster = Cluster(initialize_head=True, head_node_args=head)
cluster.add_node(num_cpus=2, resources={"rollout": 4}, object_store_memory=100_000_000)
ray.init(address=cluster.address, log_to_driver=False)

def make_env():
    import ray
    from jax_agents.envs import gym
    with open(os.path.join(folder, str(os.getpid())), "w") as file:
        file.write(ray.get_runtime_context().get_node_id())
    return gym.make("CartPole-v1", num_envs=2)

def make_policy(specs):
    from jax_agents.policies import RandomPolicy
    return RandomPolicy(specs.action)

rules = Supervision(options={"resources": {"rollout": 1}})
with ParallelDriver(
    make_env, make_policy, num_actors=2, num_rows=8, supervision=rules
) as driver:
    driver.publish(0, {})
    steps = sum(block.num_steps for block in driver.run(num_steps=500))
here = ray.get_runtime_context().get_node_id()
there = {open(os.path.join(folder, name)).read() for name in os.listdir(folder)}
assert len(os.listdir(folder)) == 2 and len(there) == 1 and here not in there and steps >= 500
ray.shutdown()
cluster.shutdown()
print("two nodes:", steps)
"""


@pytest.mark.nightly
def test_actors_on_another_node(tmp_path):
    """Two raylets here, as two machines: actors on one, the learner's process on the other."""
    result = subprocess.run(
        [sys.executable, "-c", TWO_NODES, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert "two nodes:" in result.stdout, result.stderr
