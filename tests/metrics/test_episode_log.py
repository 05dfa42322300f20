"""Steps, episodes and returns of rows on the host, by hand-worked numbers and row by row."""

import doctest

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_agents.envs.types import Trajectory
from jax_agents.metrics import EpisodeLog, episode_log


def row(step_type, next_step_type, reward):
    """Unbatched for numbers, `[n]` for lists."""
    step_type, next_step_type = np.int32(step_type), np.int32(next_step_type)
    return Trajectory(step_type, None, None, (), next_step_type, np.float32(reward), np.float32(1))


def test_episodes_are_taken_once():
    log = EpisodeLog()
    for one in ((0, 1, 1), (1, 2, 2), (2, 0, 100), (0, 1, 4)):
        log(row(*one))
    returns, lengths = log.take()
    assert returns.tolist() == [3.0] and lengths.tolist() == [2]
    assert returns.dtype == np.float64 and lengths.dtype == np.int64
    assert [x.size for x in log.take()] == [0, 0]
    assert log.num_steps == 3 and log.num_episodes == 1
    assert [x.tolist() for x in log.unfinished] == [4.0, 1]
    log(row(1, 2, 8))
    assert [x.tolist() for x in log.take()] == [[12.0], [2]]


def test_last_leaves_them_there_and_the_oldest_are_dropped():
    log = EpisodeLog(max_episodes=3)
    for reward in range(5):
        log(row(0, 2, reward))
    assert log.last(2)[0].tolist() == [3.0, 4.0] and log.last()[0].tolist() == [2.0, 3.0, 4.0]
    assert log.last(9)[1].tolist() == [1, 1, 1] and log.num_episodes == 5
    log.reset()
    assert log.take()[0].size == log.num_steps == log.num_episodes == 0


def test_a_first_row_drops_what_was_left_unfinished():
    """Also where both are in one block of rows, or an episode of one step begins with it."""
    log = EpisodeLog()
    for one in ((0, 1, 1), (1, 1, 2), (0, 1, 4), (1, 2, 8), (0, 2, 16), (0, 1, 32)):
        log(row(*one))
    assert [x.tolist() for x in log.take()] == [[12.0, 16.0], [2, 1]]
    log(row(0, 2, 64))
    assert [x.tolist() for x in log.take()] == [[64.0], [1]]
    assert log.num_steps == 7


@pytest.mark.parametrize("block", [1, 7, 1000])
@pytest.mark.parametrize("as_jax", [False, True])
def test_environments_of_a_batch_are_counted_apart(monkeypatch, block, as_jax):
    """However many rows are counted at once."""
    monkeypatch.setattr(episode_log, "_BLOCK", block)
    rng = np.random.default_rng(0)
    kind = np.zeros(3, np.int32)
    log = EpisodeLog()
    returns = np.zeros(3)
    lengths = np.zeros(3, int)
    expected = []
    for _ in range(60):
        after = np.where(kind == 2, 0, np.where(rng.random(3) < 0.3, 2, 1)).astype(np.int32)
        made = row(kind, after, rng.integers(0, 9, 3))
        log(jax.tree.map(jnp.asarray, made) if as_jax else made)
        for i in np.flatnonzero(kind != 2):
            returns[i] += made.reward[i]
            lengths[i] += 1
            if after[i] == 2:
                expected.append((returns[i], lengths[i]))
                returns[i] = lengths[i] = 0
        kind = after
    assert len(expected) > 10
    np.testing.assert_array_equal(log.take(), np.array(expected).T)
    np.testing.assert_array_equal(log.unfinished, [returns, lengths])


def test_errors():
    log = EpisodeLog()
    log(row(0, 1, 5))
    with pytest.raises(ValueError, match=r"batch shape \(\) and now have \(2,\); call reset\(\)"):
        log(row([0, 0], [1, 1], [1, 1]))
    with pytest.raises(ValueError, match=r"one reward per environment, of shape \(1,\), got \(\)"):
        EpisodeLog()(row([0], [1], 1.0))


def test_docstrings():
    result = doctest.testmod(episode_log)
    assert result.attempted and not result.failed
