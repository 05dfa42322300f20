"""Blocks as segments, and their rows written as streams of their own."""

from functools import partial

import numpy as np
import pytest

from jax_agents.drivers import Block, BlockWriter, ParallelDriver
from jax_agents.envs.specs import ArraySpec, DiscreteSpec, EnvironmentSpecs, trajectory_spec
from jax_agents.policies import RandomPolicy
from jax_agents.replay import HostReplay

SPECS = EnvironmentSpecs(ArraySpec((2,), np.int32), DiscreteSpec(3))


def random_policy(specs):
    return RandomPolicy(specs.action)


def test_segments_end_with_a_bootstrap_row(environments):
    with ParallelDriver(environments(num_envs=None), random_policy, num_rows=4) as driver:
        driver.publish(0, {})
        first = driver.gather()[0]
        second = driver.gather()[0]
    segment = first.segments()
    assert segment.step_type.tolist() == [[0, 1, 1, 1, 1]] and segment.observation[
        0, :, 1
    ].tolist() == [0, 1, 2, 3, 4]
    assert segment.reward.tolist() == [[1, 1, 1, 1, 0]] and segment.discount[0, 4] == 0
    # the bootstrap row comes again, as the next one's first
    assert second.rows.observation[:, 0, 1].tolist() == [
        4,
        5,
        6,
        7,
    ]


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


def test_a_block_that_is_missing_breaks_the_stream(environments):
    """Within an episode step types alone would not tell, and what is learned would be false."""
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


def test_a_block_that_only_counts_has_no_rows():
    counted = Block(None, (), 0, 0, 0, 0, 1, np.zeros(0), np.zeros(0))
    for use in (counted.segments, lambda: next(iter(counted))):
        with pytest.raises(ValueError, match=r"only counts rows.*\(make_replay\)"):
            use()
