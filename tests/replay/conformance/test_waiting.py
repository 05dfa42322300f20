"""Readers wait for rows, not for ever, and closing ends that."""

import threading
import time

import pytest


def test_a_wait_that_is_too_long_raises_with_the_state_and_can_be_repeated(
    make, make_row, windows, expected
):
    replay = make(timeout=0.4)
    samples = replay.as_dataset(sample_batch_size=2)
    replay.add(make_row(0))
    start = time.monotonic()
    with pytest.raises(TimeoutError, match=r"0 items.*1 row.*2"):
        next(samples)
    assert 0.3 < time.monotonic() - start < 10
    replay.add(make_row(1))
    assert windows([next(samples)]) == expected([0], 2)


def test_min_size_items_are_waited_for(make, make_row):
    replay = make(min_size=5, timeout=0.4)
    for t in range(5):
        replay.add(make_row(t))
    assert not replay.can_sample()
    with pytest.raises(TimeoutError, match=r"4 items.*\b5\b"):
        next(replay.as_dataset(sample_batch_size=2))
    replay.add(make_row(5))
    assert replay.can_sample()
    assert replay.can_sample(5)
    assert not replay.can_sample(6)
    next(replay.as_dataset(sample_batch_size=2))


def test_next_waits_for_another_thread(make, make_row, windows, expected):
    replay = make(timeout=20.0)
    result = []
    reader = threading.Thread(
        target=lambda: result.append(next(replay.as_dataset(sample_batch_size=2)))
    )
    reader.start()
    time.sleep(0.2)
    assert not result
    for t in range(2):
        replay.add(make_row(t))
    reader.join(15)
    assert windows(result) == expected([0], 2)


def test_close_ends_a_blocked_reader_at_once(make, make_row):
    replay = make(timeout=60.0)
    replay.add(make_row(0))
    done = []
    samples = replay.as_dataset(sample_batch_size=2)

    def read():
        for _ in samples:
            raise AssertionError("there is nothing to sample")
        done.append(True)

    reader = threading.Thread(target=read)
    reader.start()
    time.sleep(0.3)
    start = time.monotonic()
    replay.close()
    replay.close()
    reader.join(10)
    assert time.monotonic() - start < 2
    assert done
    with pytest.raises(StopIteration):
        next(samples)
    with pytest.raises(StopIteration):
        next(replay.as_dataset())
    with pytest.raises(RuntimeError, match="closed"):
        replay.add(make_row(1))
