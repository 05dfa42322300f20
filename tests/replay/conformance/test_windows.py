"""Which windows there are."""

import threading

import numpy as np
import pytest

from jax_agents.envs.types import StepType


@pytest.mark.parametrize(("length", "stride"), [(1, 1), (2, 1), (3, 1), (5, 1), (4, 3), (2, 5)])
def test_all_windows_on_the_stride_grid_which_span_episodes(
    make, length, stride, episode_rows, draw, windows, expected
):
    replay = make(sequence_length=length, stride=stride)
    rows = episode_rows(40, episode_length=6)
    for row in rows:
        replay.add(row)
    starts = range(0, 40 - length + 1, stride)
    samples = draw(replay, len(starts))
    assert windows(samples) == expected(starts, length)
    assert len(replay) == 40
    types = np.array([(r.step_type, r.next_step_type) for r in rows])
    for experience, _ in samples[:3]:
        np.testing.assert_array_equal(experience.step_type, types[experience.action, 0])
        np.testing.assert_array_equal(experience.next_step_type, types[experience.action, 1])


@pytest.mark.parametrize("length", [3, 5])
def test_content_after_many_rows(make, length, episode_rows, draw, windows, expected):
    replay = make(sequence_length=length, capacity=100)
    for row in episode_rows(730, episode_length=17):
        replay.add(row)
    assert windows(draw(replay, 101 - length, batches=40)) == expected(
        range(630, 731 - length), length
    )


def test_a_batch_of_environments_is_so_many_streams(
    make, stack, episode_rows, draw, windows, expected
):
    replay = make(sequence_length=3, capacity=300)
    streams = [episode_rows(20, episode_length=3 + i, stream=i) for i in range(4)]
    for rows in zip(*streams, strict=True):
        replay.add(stack(rows))
    assert len(replay) == 80
    assert windows(draw(replay, 4 * 18)) == set().union(
        *(expected(range(18), 3, i) for i in range(4))
    )


def test_a_batch_where_one_environment_does_not_continue(
    make, make_row, stack, draw, windows, expected
):
    replay = make(sequence_length=2)
    for t in range(6):
        broken = StepType.FIRST if t == 3 else StepType.MID  # stream 1 starts again at row 3
        replay.add(stack([make_row(t), make_row(t, broken, stream=1)]))
    assert windows(draw(replay, 9)) == expected(range(5), 2, 0) | expected([0, 1, 3, 4], 2, 1)


def test_each_writer_is_a_stream_or_several(make, make_row, stack, draw, windows, expected):
    replay = make(sequence_length=3)
    first, second, both = replay.writer(), replay.writer(), replay.writer(num_envs=2)
    for t in range(10):
        replay.add(make_row(t))
        first(make_row(t, stream=1))
        both(stack([make_row(t, stream=3), make_row(t, stream=4)]))
        if t % 2:
            second(make_row(t // 2, stream=2))
    want = expected(range(3), 3, 2).union(
        *(expected(range(8), 3, stream) for stream in (0, 1, 3, 4))
    )
    assert windows(draw(replay, len(want))) == want


def test_writers_in_threads_while_another_samples(make, episode_rows, draw, windows, expected):
    replay = make(sequence_length=2, capacity=2000)

    def work(stream):
        write = replay.writer()
        for row in episode_rows(150, 10, stream):
            write(row)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    samples = replay.as_dataset(sample_batch_size=16, prefetch=0)
    meanwhile = [next(samples) for _ in range(50)]
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    want = set().union(*(expected(range(149), 2, i) for i in range(4)))
    assert windows(meanwhile) <= want
    assert windows(draw(replay, len(want), batches=150)) == want
    assert len(replay) == 600


def test_a_row_that_does_not_continue_drops_the_open_window(
    make, make_row, draw, windows, expected
):
    replay = make(sequence_length=3, stride=2)
    for t in range(6):  # windows at 0 and 2; row 5 would have ended none
        replay.add(make_row(t))
    for t in range(6, 11):  # the grid starts again at 6
        replay.add(make_row(t, StepType.FIRST if t == 6 else StepType.MID))
    assert windows(draw(replay, 4)) == expected([0, 2, 6, 8], 3)


@pytest.mark.parametrize("batched", [False, True])
def test_a_bootstrap_row_at_an_episodes_first_step_is_not_continued(
    make, make_row, stack, draw, windows, expected, batched
):
    replay = make(sequence_length=2)
    kinds = [
        (StepType.MID, StepType.LAST),
        (StepType.LAST, StepType.FIRST),
        (StepType.FIRST, StepType.FIRST),
    ]
    # the third is zeros: the bootstrap row
    kinds += [
        (StepType.FIRST, StepType.MID),
        (StepType.MID, StepType.MID),
    ]
    for t, (now, then) in enumerate(kinds):
        row = make_row(t, now, then)
        replay.add(stack([row]) if batched else row)
    assert windows(draw(replay, 3)) == expected([0, 1, 3], 2)


def test_after_a_flush_all_rows_can_be_sampled(make, make_row):
    replay = make(sequence_length=2)
    for t in range(9):
        replay.add(make_row(t))
    replay.flush()
    assert set(next(replay.as_dataset(4, prefetch=0)).info.table_size) == {8}


def test_the_oldest_rows_go_first_with_every_window_that_holds_them(
    make, make_row, draw, windows, expected
):
    replay = make(sequence_length=3, capacity=10)
    for t in range(37):
        replay.add(make_row(t))
    assert replay.capacity == 10
    assert len(replay) == 10
    assert windows(draw(replay, 8)) == expected(range(27, 35), 3)
