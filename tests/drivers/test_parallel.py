"""Drivers in this process and on Ray actors, whatever happens to these."""

import os
import signal
import sys
import time
from functools import partial

import jax
import numpy as np
import pytest
from jax_agents.drivers import BlockWriter, Driver, ParallelDriver, ParameterServer, RemoteParameterServer
from jax_agents.envs.specs import ArraySpec, DiscreteSpec, EnvironmentSpecs, trajectory_spec
from jax_agents.policies import RandomPolicy
from jax_agents.replay import HostReplay

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
    Driver(environments()(), RandomPolicy(SPECS.action), [rows.append], key=jax.random.key(int(seeds[0]))).run(num_rows=12)
    for made, expected in zip((row for block in blocks for row in block), rows, strict=True):
        jax.tree.map(np.testing.assert_array_equal, made, expected)
    assert blocks[1].returns.tolist() == [5.0, 5.0] and blocks[1].lengths.tolist() == [5, 5]
    report = driver.report()
    assert (report["episodes"], report["episode_return"], report["blocks"], report["restarts"]) == (4, 5.0, 3, 0)
    driver.close()


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
    with ParallelDriver(make_env, random_policy, num_actors=2, **options) as driver:
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
    assert report["staleness_max"] >= 0 and 1 <= report["blocks_lost"] <= 2
    parameters.close()
