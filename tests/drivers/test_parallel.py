"""Drivers in this process: rows, blocks, versions and what is reported of them; on actors:
`test_parallel_on_actors.py`.
"""

from functools import partial

import jax
import numpy as np
import pytest

from jax_agents.drivers import BlockWriter, Driver, ParallelDriver, ParameterServer, collector
from jax_agents.envs.specs import ArraySpec, DiscreteSpec, EnvironmentSpecs, trajectory_spec
from jax_agents.envs.types import TimeStep
from jax_agents.policies import RandomPolicy, with_version
from jax_agents.replay import HostReplay

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


class Ragged:
    """Three environments whose episodes end at random, independently, with random rewards."""

    specs, num_envs = SPECS, 3

    def __init__(self):
        self.rng, self.step_type = np.random.default_rng(0), np.zeros(3, np.int32)

    def reset(self, seed=None):
        time_step = self.step(None)
        self.step_type = np.zeros(3, np.int32)
        return time_step._replace(step_type=self.step_type)

    def step(self, action):
        ended = np.where(self.rng.random(3) < 0.3, 2, 1)
        self.step_type = np.where(self.step_type == 2, 0, ended).astype(np.int32)
        return TimeStep(
            self.step_type,
            self.rng.random(3, np.float32),
            np.ones(3, np.float32),
            np.zeros((3, 2), np.int32),
        )

    def close(self):
        pass


@pytest.mark.parametrize("num_rows", [1, 7, 64])
def test_returns_and_lengths_of_episodes_that_span_slices(num_rows):
    driver = ParallelDriver(Ragged, random_policy, num_rows=num_rows)
    driver.publish(0, {})
    blocks = list(driver.run(num_steps=400))
    returns, lengths, expected = np.zeros(3), np.zeros(3, int), []
    for row in (row for block in blocks for row in block):
        for i in np.flatnonzero(row.step_type != 2):
            returns[i] += row.reward[i]
            lengths[i] += 1
            if row.next_step_type[i] == 2:
                expected.append((returns[i], lengths[i]))
                returns[i] = lengths[i] = 0
    assert len(expected) > 50
    np.testing.assert_allclose(
        np.concatenate([block.returns for block in blocks]), [r for r, _ in expected]
    )
    np.testing.assert_array_equal(
        np.concatenate([block.lengths for block in blocks]), [n for _, n in expected]
    )


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


def test_segments_end_with_a_bootstrap_row(environments):
    with ParallelDriver(environments(num_envs=None), random_policy, num_rows=4) as driver:
        driver.publish(0, {})
        first, second = driver.gather()[0], driver.gather()[0]
    segment = first.segments()
    assert segment.step_type.tolist() == [[0, 1, 1, 1, 1]] and segment.observation[
        0, :, 1
    ].tolist() == [0, 1, 2, 3, 4]
    assert segment.reward.tolist() == [[1, 1, 1, 1, 0]] and segment.discount[0, 4] == 0
    assert second.rows.observation[:, 0, 1].tolist() == [
        4,
        5,
        6,
        7,
    ]  # the bootstrap row comes again, as the next one's first


def test_each_actors_rows_are_streams_of_their_own(environments):
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
    assert (
        len(buffer) == 60
        and (np.diff(numbers, axis=1) == 1).all()
        and len(np.unique(numbers[:, 0])) == 13
    )


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


def test_actors_ask_for_parameters_only_where_there_may_be_newer_ones(environments, monkeypatch):
    asked, pull = [], ParameterServer.pull_if_newer
    monkeypatch.setattr(
        ParameterServer, "pull_if_newer", lambda self, have: asked.append(have) or pull(self, have)
    )
    monkeypatch.setattr(collector, "_PULL_SECONDS", 60.0)
    own, others = (
        ParallelDriver(environments(), random_policy),
        ParallelDriver(environments(), random_policy, parameters=ParameterServer()),
    )
    for driver, expected in (own, [-1, 4]), (others, [-1, 4, 4, 5, 5]):
        asked.clear()
        for version in (4, 4, 5, 5, 5):
            driver.publish(version, {})
            driver.poll()
        assert asked == expected
    monkeypatch.setattr(collector, "_PULL_SECONDS", 0.0)
    own.parameters.push(9, {})  # past the driver
    assert own.poll()[0].version == 9


def test_random_actions_at_first_and_parameters_for_one_actor(environments):
    class Told:
        def initial_state(self, batch_shape=()):
            return ()

        def action(self, params, time_step, state=(), key=None):
            import jax.numpy as jnp

            from jax_agents.envs.types import PolicyStep

            return PolicyStep(
                jnp.full(time_step.step_type.shape, params["a"] + params["b"], jnp.int32), state
            )

    driver = ParallelDriver(
        environments(),
        lambda specs: Told(),
        num_rows=10,
        warmup_steps=10,
        actor_params=[{"b": np.int32(2)}],
    )
    driver.publish(0, {"a": np.int32(0), "b": np.int32(1)})
    first, second = driver.poll()[0], driver.poll()[0]
    assert len(np.unique(first.rows.action)) > 1 and (second.rows.action == 2).all()


def test_rows_carry_the_version_that_acted_into_the_replay(environments):
    """From blocks, and where an actor writes to the replay itself; random ones that of the time
    when they were made.
    """
    spec = with_version(trajectory_spec(SPECS))
    direct, through = (HostReplay(spec, capacity=200, sequence_length=2, seed=0) for _ in range(2))
    options = {"num_rows": 6, "warmup_steps": 6, "row_versions": True}
    in_blocks = ParallelDriver(environments(num_envs=None), random_policy, **options)
    in_place = ParallelDriver(
        environments(num_envs=None), random_policy, make_replay=lambda: direct, **options
    )
    write, made = BlockWriter(partial(through.writer, 1)), {}
    for version in (0, 3, 8):
        for driver in (in_blocks, in_place):
            driver.publish(version, {})
        (block,) = in_blocks.poll()
        assert (
            block.version == version
            and block.rows.policy_info["version"].tolist() == [[version]] * 6
        )
        made |= dict.fromkeys(block.rows.observation[:, 0, 1].tolist(), version)
        write(block)
        in_place.poll()
    for buffer in (direct, through):
        experience, _ = next(buffer.as_dataset(100))
        versions, numbers = experience.policy_info["version"], experience.observation[..., 1]
        assert (
            versions.dtype == np.int32
            and versions.tolist() == np.vectorize(made.get)(numbers).tolist()
        )
        staleness = in_blocks.version - versions[:, 0]
        assert set(staleness.tolist()) == {0, 5, 8}


def test_a_block_that_is_missing_breaks_the_stream(environments):
    """In the middle of an episode step types alone would not tell; what is learned there would be
    false.
    """
    driver = ParallelDriver(environments(episode=100), random_policy, num_rows=3)
    driver.publish(0, {})
    blocks = list(driver.run(num_steps=24))
    assert [block.number for block in blocks] == [0, 1, 2, 3]
    buffer = HostReplay(trajectory_spec(SPECS), capacity=100, sequence_length=2)
    write = BlockWriter(partial(buffer.writer, 2))
    for i in (0, 2, 3):
        write(blocks[i])
    numbers = next(buffer.as_dataset(200)).experience.observation[..., 1]
    assert set(map(tuple, numbers.tolist())) == {
        (0, 1),
        (1, 2),
        (6, 7),
        (7, 8),
        (8, 9),
        (9, 10),
        (10, 11),
    }


def test_what_cannot_be(environments):
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
    counted = block.poll()[0].__class__(None, (), 0, 0, 0, 0, 1, np.zeros(0), np.zeros(0))
    with pytest.raises(ValueError, match="only counts rows"):
        counted.segments()
