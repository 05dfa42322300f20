"""Drivers in this process and on Ray actors, whatever happens to these."""

import os
import signal
import socket
import subprocess
import sys
import time
from functools import partial

import jax
import numpy as np
import pytest
from jax_agents.drivers import BlockWriter, Driver, ParallelDriver, ParameterServer, RemoteParameterServer
from jax_agents.envs.specs import ArraySpec, DiscreteSpec, EnvironmentSpecs, trajectory_spec
from jax_agents.policies import RandomPolicy, with_version
from jax_agents.replay import HostReplay, has_reverb

SPECS = EnvironmentSpecs(ArraySpec((2,), np.int32), DiscreteSpec(3))


def environments(num_envs=2, episode=5, sleep=0.0, failure=None, flag=""):
    """What makes environments whose observations are (process, number of the row), made where they are used.

    One in all processes fails at row 20, in the way that is named.
    """

    def make():
        class Counting:
            def __init__(self):
                from jax_agents.envs.specs import ArraySpec, DiscreteSpec, EnvironmentSpecs

                self.specs = EnvironmentSpecs(ArraySpec((2,), np.int32), DiscreteSpec(3))
                self.num_envs, self.rows = num_envs, 0

            def reset(self, seed=None):
                return self._time_step(0)

            def step(self, action):
                time.sleep(sleep)
                self.rows += 1
                if failure and self.rows == 20:
                    self.fail()
                return self._time_step(self.rows)

            def close(self):
                pass

            def fail(self):
                try:
                    os.close(os.open(flag, os.O_CREAT | os.O_EXCL))
                except FileExistsError:
                    return
                if failure == "exit":
                    os._exit(1)
                if failure == "raise":
                    raise ZeroDivisionError("inside the environment")
                while True:
                    pass

            def _time_step(self, row):
                from jax_agents.envs.types import TimeStep

                place = row % (episode + 1)
                kind = 0 if place == 0 else 2 if place == episode else 1
                leaves = np.int32(kind), np.float32(place > 0), np.float32(1), np.array([os.getpid(), row], np.int32)
                if num_envs is not None:
                    leaves = tuple(np.stack([leaf] * num_envs) for leaf in leaves)
                return TimeStep(*leaves)

        return Counting()

    return make


def random_policy(specs):
    from jax_agents.policies import RandomPolicy

    return RandomPolicy(specs.action)


def by_value(*functions):
    """Sends what this module defines by value: actors cannot import it."""
    from ray import cloudpickle

    for function in functions:
        cloudpickle.register_pickle_by_value(sys.modules[function.__module__])


def check_rows(blocks):
    """No row came twice, and each process's rows are all there from its first on. Their numbers, by process."""
    seen = {}
    for block in blocks:
        observation = block.rows.observation
        assert (observation[:, 0] == observation[:, -1]).all()
        pid = observation[0, 0, 0]
        seen.setdefault(pid, []).extend(observation[:, 0, 1].tolist())
    for numbers in seen.values():
        assert numbers == list(range(len(numbers)))
    return {pid: len(numbers) for pid, numbers in seen.items()}


def test_in_process_the_rows_are_a_drivers():
    driver = ParallelDriver(environments(), random_policy, num_rows=4, seed=3)
    driver.publish(0, {})
    blocks = list(driver.run(num_steps=20))
    assert [block.num_steps for block in blocks] == [8, 6, 6] and driver.num_steps == 20
    rows = []
    seeds = np.random.SeedSequence([3, 0, 0]).generate_state(2)
    key, _ = jax.random.split(jax.random.key(int(seeds[0])))
    Driver(environments()(), RandomPolicy(SPECS.action), [rows.append], key=key).run(num_rows=12)
    for made, expected in zip((row for block in blocks for row in block), rows, strict=True):
        jax.tree.map(np.testing.assert_array_equal, made, expected)
    assert blocks[1].returns.tolist() == [5.0, 5.0] and blocks[1].lengths.tolist() == [5, 5]
    report = driver.report()
    assert (report["episodes"], report["episode_return"], report["blocks"], report["restarts"]) == (4, 5.0, 3, 0)
    driver.close()


def test_a_function_of_each_actor_between_its_slices():
    with ParallelDriver(environments(), random_policy, num_rows=4) as driver:
        driver.publish(0, {})
        assert driver.foreach_actor(lambda collector: (collector.actor, collector.num_steps)) == [(0, 0)]
        driver._start()  # a slice that nobody has polled for is not lost
        assert driver.foreach_actor(lambda collector: collector.num_steps) == [8]
        assert sum(block.num_steps for block in driver.run(num_steps=20)) == 20 == driver.num_steps
        with pytest.raises(ZeroDivisionError):
            driver.foreach_actor(lambda collector: 1 / 0)


def test_segments_end_with_a_bootstrap_row():
    with ParallelDriver(environments(num_envs=None), random_policy, num_rows=4) as driver:
        driver.publish(0, {})
        first, second = driver.gather()[0], driver.gather()[0]
    segment = first.segments()
    assert segment.step_type.tolist() == [[0, 1, 1, 1, 1]] and segment.observation[0, :, 1].tolist() == [0, 1, 2, 3, 4]
    assert segment.reward.tolist() == [[1, 1, 1, 1, 0]] and segment.discount[0, 4] == 0
    assert second.rows.observation[:, 0, 1].tolist() == [4, 5, 6, 7]  # the bootstrap row comes again, as the next one's first


def test_each_actors_rows_are_streams_of_their_own():
    buffer = HostReplay(trajectory_spec(SPECS), capacity=1000, sequence_length=3)
    drivers = [ParallelDriver(environments(), random_policy, num_rows=5, seed=i) for i in range(2)]
    write = BlockWriter(partial(buffer.writer, num_envs=2))
    for driver in drivers:
        driver.publish(0, {})
    for _ in range(3):
        for actor, driver in enumerate(drivers):
            (block,) = driver.poll(timeout=1.0)
            write(block.__class__(**{**vars(block), "actor": actor}))
    experience, _ = next(buffer.as_dataset(200))
    numbers = experience.observation[..., 1]
    assert len(buffer) == 60 and (np.diff(numbers, axis=1) == 1).all() and len(np.unique(numbers[:, 0])) == 13


def test_staleness_is_reported_and_bounded():
    driver = ParallelDriver(environments(), random_policy, num_rows=4, max_staleness=1)
    driver.publish(5, {})
    driver._start()  # a slice of version 5 waits
    driver.publish(7, {})
    assert driver.poll() == []
    (block,) = driver.poll()
    assert block.version == 7
    report = driver.report()
    assert (report["staleness_max"], report["staleness_mean"], report["blocks_dropped"]) == (2, 1.0, 1)
    with pytest.raises(ValueError, match="version 6 is older"):
        driver.publish(6, {})


def test_random_actions_at_first_and_parameters_for_one_actor():
    class Told:
        def initial_state(self, batch_shape=()):
            return ()

        def action(self, params, time_step, state=(), key=None):
            import jax.numpy as jnp
            from jax_agents.envs.types import PolicyStep

            return PolicyStep(jnp.full(time_step.step_type.shape, params["a"] + params["b"], jnp.int32), state)

    driver = ParallelDriver(
        environments(), lambda specs: Told(), num_rows=10, warmup_steps=10, actor_params=[{"b": np.int32(2)}]
    )
    driver.publish(0, {"a": np.int32(0), "b": np.int32(1)})
    first, second = driver.poll()[0], driver.poll()[0]
    assert len(np.unique(first.rows.action)) > 1 and (second.rows.action == 2).all()


def test_rows_carry_the_version_that_acted_into_the_replay():
    """From blocks, and where an actor writes to the replay itself; random ones that of the time when they were made."""
    spec = with_version(trajectory_spec(SPECS))
    direct, through = (HostReplay(spec, capacity=200, sequence_length=2, seed=0) for _ in range(2))
    options = {"num_rows": 6, "warmup_steps": 6, "row_versions": True}
    in_blocks = ParallelDriver(environments(num_envs=None), random_policy, **options)
    in_place = ParallelDriver(environments(num_envs=None), random_policy, make_replay=lambda: direct, **options)
    write, made = BlockWriter(partial(through.writer, 1)), {}
    for version in (0, 3, 8):
        for driver in (in_blocks, in_place):
            driver.publish(version, {})
        (block,) = in_blocks.poll()
        assert block.version == version and block.rows.policy_info["version"].tolist() == [[version]] * 6
        made |= dict.fromkeys(block.rows.observation[:, 0, 1].tolist(), version)
        write(block)
        in_place.poll()
    for buffer in (direct, through):
        experience, _ = next(buffer.as_dataset(100))
        versions, numbers = experience.policy_info["version"], experience.observation[..., 1]
        assert versions.dtype == np.int32 and versions.tolist() == np.vectorize(made.get)(numbers).tolist()
        staleness = in_blocks.version - versions[:, 0]
        assert set(staleness.tolist()) == {0, 5, 8}


def test_what_cannot_be():
    with pytest.raises(TimeoutError, match=r"call driver.publish"):
        ParallelDriver(environments(), random_policy).poll()
    with pytest.raises(ValueError, match="num_rows=0"):
        ParallelDriver(environments(), random_policy, num_rows=0)
    with pytest.raises(ValueError, match="one dict for each of 1 actors, got 2"):
        ParallelDriver(environments(), random_policy, actor_params=[{}, {}])
    with pytest.raises(ValueError, match="use RemoteParameterServer"):
        ParallelDriver(environments(), random_policy, num_actors=1, parameters=ParameterServer())
    block = ParallelDriver(environments(), random_policy, num_rows=1)
    block.publish(0, {})
    counted = block.poll()[0].__class__(None, (), 0, 0, 0, 1, np.zeros(0), np.zeros(0))
    with pytest.raises(ValueError, match="only counts rows"):
        counted.segments()


def test_actors_go_on_whatever_dies(ray_on_this_machine, tmp_path):
    by_value(environments)
    parameters = RemoteParameterServer(tmp_path / "parameters", save_seconds=0.0)
    flag = tmp_path / "failed"
    failures = []
    options = {"num_rows": 8, "timeout": 30.0, "backoff": 0.1, "on_failure": failures.append, "parameters": parameters}
    make_env = environments(failure="exit", flag=str(flag), sleep=0.001)
    with ParallelDriver(make_env, random_policy, num_actors=2, row_versions=True, **options) as driver:
        driver.publish(0, {"x": np.zeros(50_000, np.float32)})  # too large to travel in an answer
        blocks = list(driver.run(num_steps=200))
        while not failures or None in driver.supervisor.pids():  # until one has exited, and is there again
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
    assert [failure.cause for failure in failures] == ["died"] and report["actors_died"] == report["restarts"] == 1
    rows = check_rows(blocks)
    assert len(rows) == 3 and set(pids) < set(rows)
    assert {(b.actor, b.generation) for b in blocks} > {(0, 0), (1, 0)}
    assert all((b.rows.policy_info["version"] == b.version).all() for b in blocks)
    assert report["staleness_max"] >= 0 and 1 <= report["blocks_lost"] <= 2
    parameters.close()


@pytest.mark.nightly
@pytest.mark.parametrize(("failure", "cause", "told"), [("raise", "error", "inside the environment"), ("spin", "hung", "fail")])
def test_an_environment_that_raises_or_hangs_is_replaced(ray_on_this_machine, tmp_path, failure, cause, told):
    by_value(environments)
    failures = []
    make_env = environments(failure=failure, flag=str(tmp_path / "failed"), sleep=0.001)
    options = {"num_rows": 8, "timeout": 15.0, "backoff": 0.1, "on_failure": failures.append}
    with ParallelDriver(make_env, random_policy, num_actors=2, **options) as driver:
        driver.publish(0, {})
        blocks = list(driver.run(num_steps=500))
        while len({(b.actor, b.generation) for b in blocks}) < 3:
            blocks += driver.poll(timeout=1.0)
    assert [f.cause for f in failures] == [cause] and told in failures[0].message
    check_rows(blocks)


@pytest.mark.nightly
def test_eight_actors_are_seven_times_as_fast_as_one_where_environments_take_50_ms(ray_on_this_machine):
    by_value(environments)

    def steps_per_second(num_actors):
        with ParallelDriver(environments(None, sleep=0.05), random_policy, num_actors=num_actors, num_rows=8) as driver:
            driver.publish(0, {})
            blocks = []
            while min(sum(block.actor == actor for block in blocks) for actor in range(num_actors)) < 2:  # all are compiled
                blocks += driver.poll(timeout=1.0)
            start, steps = time.monotonic(), driver.num_steps
            while time.monotonic() - start < 10.0:
                driver.poll(timeout=1.0)
            return (driver.num_steps - steps) / (time.monotonic() - start)

    assert steps_per_second(8) >= 7 * steps_per_second(1)


@pytest.mark.nightly
def test_a_replay_server_is_killed_and_comes_back(ray_on_this_machine, tmp_path):
    """What was there at the checkpoint is there again; what is written again comes once."""
    if not has_reverb():
        pytest.skip("Reverb is not installed")
    by_value(environments)
    spec = trajectory_spec(SPECS)

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
        """The numbers of the rows with which sampled windows begin, by process; and how many items begin with each."""
        dataset, items = replay.as_dataset(500), {}
        for _ in range(150):
            experience, info = next(dataset)
            for (pid, number), key in zip(experience.observation[:, 0].tolist(), info.key.tolist(), strict=True):
                items.setdefault((pid, number), set()).add(key)
        return items

    process = serve(port)
    try:
        options = {"num_rows": 8, "make_replay": make_replay, "backoff": 0.1, "timeout": 120.0}
        with ParallelDriver(environments(None, sleep=0.005), random_policy, num_actors=2, **options) as driver:
            driver.publish(0, {})
            list(driver.run(num_steps=500))
            reader = make_replay()
            reader.checkpoint()
            saved = rows_by_process(reader)
            process.kill()
            process.wait()
            before = driver.num_steps
            process = serve(port)
            list(driver.run(num_steps=500))
            report = driver.report()
        after = rows_by_process(reader)
        reader.close()
    finally:
        process.kill()
    assert report["restarts"] == 0 and before >= 500
    assert len(saved) > 300 and set(saved) <= set(after)
    assert all(len(keys) == 1 for keys in after.values())


TWO_NODES = """
import os, sys
import ray
from ray.cluster_utils import Cluster
from jax_agents.drivers import ParallelDriver

folder = sys.argv[1]
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "object_store_memory": 100_000_000})
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

with ParallelDriver(make_env, make_policy, num_actors=2, num_rows=8, options={"resources": {"rollout": 1}}) as driver:
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
    """Two raylets on this machine, as two machines: actors on one, the learner's process on the other."""
    result = subprocess.run([sys.executable, "-c", TWO_NODES, str(tmp_path)], capture_output=True, text=True, timeout=240)
    assert "two nodes:" in result.stdout, result.stderr
