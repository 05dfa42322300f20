"""Drivers in this process: rows, blocks, versions and what is reported of them.

Those on actors are tested in `test_parallel_on_actors.py`.
"""

import jax
import numpy as np
import pytest

from jax_agents.drivers import Driver, ParallelDriver, ParameterServer
from jax_agents.envs.specs import ArraySpec, DiscreteSpec, EnvironmentSpecs
from jax_agents.policies import RandomPolicy

SPECS = EnvironmentSpecs(ArraySpec((2,), np.int32), DiscreteSpec(3))


def random_policy(specs):
    from jax_agents.policies import RandomPolicy

    return RandomPolicy(specs.action)


def test_in_process_the_rows_are_a_drivers(environments):
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
    assert (report["episodes"], report["episode_return"], report["blocks"], report["restarts"]) == (
        4,
        5.0,
        3,
        0,
    )
    driver.close()


def test_a_function_of_each_actor_between_its_slices(environments):
    with ParallelDriver(environments(), random_policy, num_rows=4) as driver:
        driver.publish(0, {})
        assert driver.foreach_actor(lambda collector: (collector.actor, collector.num_steps)) == [
            (0, 0)
        ]
        driver._start()  # a slice that nobody has polled for is not lost
        assert driver.foreach_actor(lambda collector: collector.num_steps) == [8]
        assert sum(block.num_steps for block in driver.run(num_steps=20)) == 20 == driver.num_steps
        with pytest.raises(ZeroDivisionError):
            driver.foreach_actor(lambda collector: 1 / 0)


def test_staleness_is_reported_and_bounded(environments):
    driver = ParallelDriver(environments(), random_policy, num_rows=4, max_staleness=1)
    driver.publish(5, {})
    driver._start()  # a slice of version 5 waits
    driver.publish(7, {})
    assert driver.poll() == []
    (block,) = driver.poll()
    assert block.version == 7
    report = driver.report()
    assert (report["staleness_max"], report["staleness_mean"], report["blocks_dropped"]) == (
        2,
        1.0,
        1,
    )
    with pytest.raises(ValueError, match="version 6 is older"):
        driver.publish(6, {})


def test_what_cannot_be(environments):
    with pytest.raises(TimeoutError, match=r"call driver.publish"):
        ParallelDriver(environments(), random_policy).poll()
    with pytest.raises(ValueError, match="num_rows=0"):
        ParallelDriver(environments(), random_policy, num_rows=0)
    with pytest.raises(ValueError, match="one dict for each of 1 actors, got 2"):
        ParallelDriver(environments(), random_policy, actor_params=[{}, {}])
    with pytest.raises(ValueError, match="use RemoteParameterServer"):
        ParallelDriver(environments(), random_policy, num_actors=1, parameters=ParameterServer())
