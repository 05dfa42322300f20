"""Arguments that are refused, and what the messages say."""

import numpy as np
import pytest

from jax_agents.replay import checks


@pytest.mark.parametrize("value", [0, -1, 1.0, True, None, "3"])
def test_counts_are_integers_of_at_least_one(value):
    with pytest.raises(ValueError, match=f"rows must be an integer of at least 1, got {value!r}!"):
        checks.check_count("rows", value, "!")
    checks.check_count("rows", np.int64(1))


@pytest.mark.parametrize("value", [0, -1.0, float("nan")])
def test_timeouts_are_positive(value):
    with pytest.raises(ValueError, match="positive number of seconds"):
        checks.check_timeout(value)
    checks.check_timeout(0.1)


def test_arguments_of_datasets():
    checks.check_sampling(None, None, 0, 3)
    checks.check_sampling(1, 3, 2, 3)
    for arguments, message in (
        ((1, 2, 0, 3), "num_steps=2, but this buffer was built with sequence_length=3"),
        ((0, None, 0, 3), "sample_batch_size must be at least 1"),
        ((1, None, -1, 3), "prefetch must be at least 0, got -1"),
    ):
        with pytest.raises(ValueError, match=message):
            checks.check_sampling(*arguments)


def test_keys_and_priorities_come_back_flat_and_wide():
    keys, priorities = checks.check_priorities(np.int64(5), 2, 0.5)
    assert (keys.tolist(), keys.dtype) == ([5], np.uint64)
    assert (priorities.tolist(), priorities.dtype) == ([2.0], np.float64)
    empty, _ = checks.check_priorities([], [], 0.5)
    assert empty.shape == (0,)


def test_keys_and_priorities_that_are_refused():
    keys = np.uint64([1, 2])
    for priorities, exponent, error, message in (
        ([1.0, 2.0], None, ValueError, "samples uniformly"),
        ([1.0], 0.5, ValueError, "one priority for each key"),
        ([1.0, -1.0], 0.5, ValueError, r"got \[-1.0\]"),
        ([np.nan, 1.0], 0.5, ValueError, r"got \[nan\]"),
        ([1.0, np.inf], 0.5, ValueError, r"got \[inf\]"),
    ):
        with pytest.raises(error, match=message):
            checks.check_priorities(keys, priorities, exponent)
    with pytest.raises(TypeError, match="keep it in NumPy"):
        checks.check_priorities(np.uint32([1]), [1.0], 0.5)
