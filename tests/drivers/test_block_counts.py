"""Counts of blocks, by hand-made blocks."""

import numpy as np

from jax_agents.drivers import Block
from jax_agents.drivers.block_counts import BlockCounts


def block(version, num_steps=4, returns=()):
    lengths = np.ones(len(returns), np.int64)
    return Block(None, (), 0, 0, 0, version, num_steps, np.array(returns, float), lengths)


def test_blocks_that_are_too_old_are_counted_and_dropped():
    counts = BlockCounts(max_staleness=2)
    assert counts.add(block(5, 4, [1.0, 3.0]), version=5)
    assert counts.add(block(3), version=5)
    assert not counts.add(block(2, 10, [8.0]), version=5)
    assert counts.add(block(9), version=5)  # newer: published by another
    assert counts.report() == {
        "steps": 22,
        "episodes": 3,
        "episode_return": 4.0,
        "staleness_mean": (0 + 2 + 3 + 0) / 4,
        "staleness_max": 3,
        "blocks_dropped": 1,
    }


def test_without_a_limit_none_is_dropped_and_means_are_of_the_last_hundred():
    counts = BlockCounts()
    assert counts.report()["episode_return"] == counts.report()["staleness_max"] == 0
    for episode in range(150):
        assert counts.add(block(0, 1, [episode]), version=1_000)
    assert counts.report()["episode_return"] == np.mean(range(50, 150))
    assert (counts.num_steps, counts.num_episodes, counts.num_dropped) == (150, 150, 0)
