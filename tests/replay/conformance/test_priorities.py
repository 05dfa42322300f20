"""Draws by priority, and what keys and priorities may be."""

import numpy as np
import pytest


def test_prioritised_draws_follow_the_priorities(make, make_row, draw):
    replay = make(sequence_length=2, priority_exponent=0.5)
    for t in range(5):
        replay.add(make_row(t))
    samples = draw(replay, 4)
    keys = {int(s.experience.action[i, 0]): s.info.key[i] for s in samples for i in range(64)}
    # new items are alike
    assert all(np.allclose(s.info.priority, samples[0].info.priority[0]) for s in samples)
    keys = np.array([keys[i] for i in range(4)], np.uint64)
    replay.update_priorities(keys, np.array([0.0, 1.0, 4.0, 9.0]))
    want = np.array([0.0, 1.0, 2.0, 3.0]) / 6
    samples = draw(replay, 4, batches=150)
    first = np.concatenate([s.experience.action[:, 0] for s in samples])
    np.testing.assert_allclose(np.bincount(first, minlength=4) / 9600, want, atol=0.03)
    assert not (first == 0).any()
    np.testing.assert_allclose(
        np.concatenate([s.info.probability for s in samples]), want[first], rtol=1e-6
    )
    np.testing.assert_allclose(
        np.concatenate([s.info.priority for s in samples]), first.astype(float) ** 2, rtol=1e-6
    )
    np.testing.assert_array_equal(np.concatenate([s.info.key for s in samples]), keys[first])


def test_a_new_item_has_the_highest_priority_so_far(make, make_row, draw):
    replay = make(sequence_length=1, priority_exponent=1.0)
    replay.add(make_row(0))
    assert next(replay.as_dataset(prefetch=0)).info.priority == 1.0
    replay.update_priorities([next(replay.as_dataset(prefetch=0)).info.key], [5.0])
    replay.add(make_row(1))
    samples = draw(replay, 2)
    assert {float(p) for s in samples for p in s.info.priority} == {5.0}


def test_priorities_that_are_no_numbers_are_refused(make, make_row, draw):
    replay = make(priority_exponent=1.0)
    for t in range(3):
        replay.add(make_row(t))
    key = draw(replay, 2, batches=1)[0].info.key[:2]
    for bad in (np.nan, np.inf, -0.5):
        with pytest.raises(ValueError, match=str(bad)):
            replay.update_priorities(key, [0.25, bad])
    with pytest.raises(ValueError, match="one priority for each key"):
        replay.update_priorities(key, [1.0])
    with pytest.raises(TypeError, match="uint64"):  # what JAX makes of keys
        replay.update_priorities(key.astype(np.uint32), [1.0, 1.0])
    assert {float(p) for s in draw(replay, 2, batches=3) for p in s.info.priority} == {1.0}
    replay.update_priorities(np.array([], np.uint64), [])


def test_a_uniform_buffer_has_no_priorities(make, make_row):
    replay = make()
    replay.add(make_row(0))
    with pytest.raises(ValueError, match="priority_exponent"):
        replay.update_priorities(np.zeros(1, np.uint64), [1.0])


def test_stale_keys_are_passed_over(make, make_row, draw):
    replay = make(sequence_length=1, capacity=4, priority_exponent=1.0)
    for t in range(4):
        replay.add(make_row(t))
    old = np.unique(np.concatenate([s.info.key for s in draw(replay, 4)]))
    assert len(old) == 4
    for t in range(4, 8):
        replay.add(make_row(t))
    samples = draw(replay, 4)
    new = np.unique(np.concatenate([s.info.key for s in samples]))
    assert not set(old.tolist()) & set(new.tolist())
    replay.update_priorities(np.concatenate([old, new[:1]]), [7.0, 7.0, 7.0, 7.0, 3.0])
    priorities = {
        int(k): float(p)
        for s in draw(replay, 4)
        for k, p in zip(s.info.key, s.info.priority, strict=True)
    }
    assert priorities == {int(k): 3.0 if k == new[0] else 1.0 for k in new}
