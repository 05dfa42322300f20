"""What only the in-process buffer promises: reproducible draws, memory, whole windows."""

import os
import sys

import jax
import numpy as np
import pytest

from jax_agents import replay as replay_package
from jax_agents.envs.types import StepType
from jax_agents.replay import HostReplay


@pytest.mark.parametrize("exponent", [None, 0.6])
def test_a_run_is_a_function_of_its_seed(exponent, spec, make_row):
    def run(seed):
        replay = HostReplay(spec, capacity=50, priority_exponent=exponent, seed=seed)
        dataset, out = replay.as_dataset(8), []
        for t in range(80):
            replay.add(make_row(t))
            if t > 5:
                experience, info = next(dataset)
                out.append(experience.action)
                if exponent is not None:
                    replay.update_priorities(info.key, experience.reward[:, 0] % 7)
        return np.stack(out)

    np.testing.assert_array_equal(run(1), run(1))
    assert (run(1) != run(2)).any()


def test_drawing_happens_in_next_and_prefetch_only_delays_delivery(spec, fill, first_rows):
    replay = fill(HostReplay(spec, capacity=10, sequence_length=1), [0])
    ahead, plain = (replay.as_dataset(4, prefetch=n, device=jax.devices()[0]) for n in (2, 0))
    assert first_rows([next(ahead)]).tolist() == [0] * 4  # draws three batches
    fill(replay, [1] * 10)  # the first row leaves the buffer
    assert first_rows([next(plain)]).tolist() == [1] * 4
    assert [int(first_rows([next(ahead)])[0]) for _ in range(3)] == [0, 0, 1]


def test_memory_is_the_rows_and_six_bytes_each(spec):
    ring = HostReplay(spec, capacity=1000)._ring
    arrays = [
        *ring.columns.values(),
        *(x for x in vars(ring).values() if isinstance(x, np.ndarray)),
    ]
    assert sum(x.nbytes for x in arrays) == 1000 * (36 + 6)
    assert 36 + 6 <= 1.2 * 36


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_is_taken_as_rows_come(spec, fill, draws):
    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    before = resident()
    replay = HostReplay(spec, capacity=20_000_000, priority_exponent=1.0)  # 1.2 GB when full
    fill(replay, range(1000))
    draws(replay, 2)
    assert resident() - before < 100e6


def test_rare_starts_are_drawn_uniformly(spec, fill, draws, first_rows):
    """With a long stride few slots start a window, and drawing again gives way to a list."""
    replay = fill(HostReplay(spec, capacity=1000, stride=100), range(1000))
    counts = np.bincount(first_rows(draws(replay, 40)))[::100]
    assert counts.sum() == 40 * 64
    np.testing.assert_allclose(counts / counts.sum(), 0.1, atol=0.035)


def test_windows_of_slow_writers_that_others_overwrote_are_not_given(spec, make_row, draws, starts):
    replay = HostReplay(spec, capacity=8, sequence_length=3)
    slow, fast = replay.writer(), replay.writer()
    slow(make_row(100))
    slow(make_row(101))
    for t in range(7):  # overwrites row 100, which the window 100, 101, 102 would need
        fast(make_row(t))
    slow(make_row(102))
    assert starts(draws(replay)) == {0, 1, 2, 3, 4}
    slow(make_row(103))
    slow(make_row(104))
    want = {2: [2, 3, 4], 3: [3, 4, 5], 4: [4, 5, 6], 102: [102, 103, 104]}
    assert starts(draws(replay)) == set(want)
    for s in draws(replay):
        for window in s.experience.action.tolist():
            assert window == want[window[0]]


def test_random_streams_against_a_naive_model(spec, make_row, draws):
    """Writers interleave, break off and overwrite each other: always exactly the whole windows."""
    rng = np.random.default_rng(0)
    for length, stride, capacity in ((1, 1, 7), (2, 1, 9), (3, 2, 20), (4, 1, 30)):
        replay = HostReplay(spec, capacity=capacity, sequence_length=length, stride=stride)
        writers = [replay.writer() for _ in range(3)]
        rows, runs = [], [[], [], []]  # all numbers in order, and the unbroken run of each stream
        windows = []
        for number in range(200):
            i = int(rng.integers(3)) if rng.random() < 0.5 else 0
            breaks = rng.random() < 0.1
            writers[i](make_row(number, StepType.FIRST if breaks else StepType.MID))
            runs[i] = [number] if breaks or not runs[i] else [*runs[i], number]
            rows.append(number)
            if len(runs[i]) >= length and (len(runs[i]) - length) % stride == 0:
                windows.append(tuple(runs[i][-length:]))
            kept = set(rows[-capacity:])
            windows = [w for w in windows if kept.issuperset(w)]
            assert replay._ring.items == len(windows)
            if windows and number % 5 == 0:
                got = {tuple(w) for s in draws(replay, 4) for w in s.experience.action.tolist()}
                assert got <= set(windows)
                assert got == set(windows) or len(windows) > 15


def test_times_sampled_stop_at_their_largest_number(spec, fill, draws):
    replay = fill(HostReplay(spec, capacity=4), range(3))
    replay._ring.times_sampled[:] = 65_500
    seen = [s.info.times_sampled for s in draws(replay, 4)]
    assert max(map(np.max, seen)) == 65_535
    assert min(map(np.min, seen)) >= 65_500


def test_a_buffer_whose_priorities_are_all_zero_says_so(spec, fill, draws):
    replay = fill(
        HostReplay(spec, capacity=9, sequence_length=1, priority_exponent=1.0, timeout=0.1),
        range(3),
    )
    replay.update_priorities(np.unique(draws(replay)[0].info.key), np.zeros(3))
    assert not replay.can_sample()
    with pytest.raises(TimeoutError, match="priority of every item is 0"):
        next(replay.as_dataset())
    with pytest.raises(ValueError, match="too large"):
        HostReplay.update_priorities(
            fill(HostReplay(spec, capacity=9, priority_exponent=4.0), range(3)), [0], [1e100]
        )


def test_reverb_is_asked_for_lazily(monkeypatch):
    monkeypatch.setattr(replay_package, "has_reverb", lambda: False)
    with pytest.raises(ImportError, match=r'pip install "jax-agents\[reverb\]"'):
        _ = replay_package.ReverbReplay
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = replay_package.Nonsense
