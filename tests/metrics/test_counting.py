"""Steps, episodes and returns of rows on device, by hand-worked numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_agents.envs.types import Trajectory
from jax_agents.metrics.counting import accumulate, count_rows

# Two environments, six rows. The first one ends an episode with row 2, row 3 is its boundary row;
# the second one ends episodes of one step with rows 0 and 4, and is reset in the middle at row 3.
STEP_TYPE = np.array([[0, 1, 1, 2, 0, 1], [1, 2, 0, 0, 1, 2]], np.int32)
NEXT = np.array([[1, 1, 2, 0, 1, 1], [2, 0, 1, 1, 2, 0]], np.int32)
REWARD = np.array([[1, 2, 4, 100, 8, 16], [3, 100, 50, 5, 7, 100]], np.float32)


def rows(step_type, next_step_type, reward):
    step_type, next_step_type, reward = map(jnp.asarray, (step_type, next_step_type, reward))
    return Trajectory(step_type, None, None, (), next_step_type, reward, jnp.ones_like(reward))


def test_counts_and_returns():
    start = jnp.array([0.0, 10.0])
    lengths = jnp.array([0, 4])
    running, steps, counts = jax.jit(count_rows)(start, lengths, rows(STEP_TYPE, NEXT, REWARD))
    np.testing.assert_allclose(running, [8 + 16, 0])
    np.testing.assert_array_equal(steps, [2, 0])
    assert counts.steps == 5 + 4 and counts.steps.dtype == jnp.int32
    assert counts.episodes == 3 and counts.episodes.dtype == jnp.int32
    assert counts.returns == (1 + 2 + 4) + (10 + 3) + (5 + 7)
    assert counts.lengths == 3 + (4 + 1) + 2 and counts.lengths.dtype == jnp.int32
    assert (counts.highest, counts.lowest) == (13, 7)
    # where none ends
    *_, none = count_rows(
        start, lengths, rows(STEP_TYPE[:, 2:3] * 0 + 1, NEXT[:, 2:3] * 0 + 1, REWARD[:, 2:3])
    )
    assert (none.episodes, none.returns, none.lengths) == (0, 0, 0)
    assert (none.highest, none.lowest) == (-np.inf, np.inf)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_rows_in_pieces_are_counted_as_at_once(size):
    running, steps = jnp.array([0.0, 10.0]), jnp.array([0, 4])
    totals, highest, lowest = np.zeros(4), [], []
    for t in range(0, 6, size):
        part = rows(*(x[:, t : t + size] for x in (STEP_TYPE, NEXT, REWARD)))
        running, steps, counts = count_rows(running, steps, part)
        totals += np.array(counts[:4])
        highest.append(counts.highest)
        lowest.append(counts.lowest)
    np.testing.assert_allclose(running, [24, 0])
    np.testing.assert_array_equal(steps, [2, 0])
    np.testing.assert_allclose(totals, [9, 3, 32, 10])
    assert (max(highest), min(lowest)) == (13, 7)


def test_one_row_of_any_amount():
    """MID -> LAST ends with its amount, FIRST forgets, a boundary row adds nothing."""
    row = rows([1, 0, 2, 1], [2, 1, 0, 1], np.zeros(4, np.float32))
    after, total, ended = accumulate(jnp.array([5, 5, 5, 5]), jnp.int32(1), row)
    np.testing.assert_array_equal(after, [0, 1, 5, 6])
    np.testing.assert_array_equal(total, [6, 1, 5, 6])
    np.testing.assert_array_equal(ended, [True, False, False, False])
