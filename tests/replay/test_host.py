"""What only the in-process buffer promises: reproducible draws, memory, what a file holds, and that saving is atomic."""

import errno
import os
import signal
import subprocess
import sys
import threading

import jax
import numpy as np
import pytest
from jax_agents import replay as replay_package
from jax_agents.envs.specs import ArraySpec, DiscreteSpec, EnvironmentSpecs, trajectory_spec
from jax_agents.envs.types import StepType, Trajectory
from jax_agents.replay import HostReplay

SPEC = trajectory_spec(EnvironmentSpecs(ArraySpec((4,)), DiscreteSpec(1_000_000)))  # CartPole's rows: 36 bytes


def make_row(number, step_type=StepType.MID, next_step_type=StepType.MID):
    observation, reward = np.full(4, number, np.float32), np.float32(number)
    action = np.int32(number)
    return Trajectory(np.int32(step_type), observation, action, (), np.int32(next_step_type), reward, np.float32(1))


def fill(replay, rows):
    for number in rows:
        replay.add(make_row(number))
    return replay


def starts(samples):
    return np.concatenate([s.experience.action[:, 0] for s in samples])


def draws(replay, batches=20, batch_size=64):
    dataset = replay.as_dataset(batch_size)
    return [next(dataset) for _ in range(batches)]


@pytest.mark.parametrize("exponent", [None, 0.6])
def test_a_run_is_a_function_of_its_seed(exponent):
    def run(seed):
        replay = HostReplay(SPEC, capacity=50, priority_exponent=exponent, seed=seed)
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


def test_drawing_happens_in_next_and_prefetch_only_delays_delivery():
    replay = fill(HostReplay(SPEC, capacity=10, sequence_length=1), [0])
    ahead, plain = (replay.as_dataset(4, prefetch=n, device=jax.devices()[0]) for n in (2, 0))
    assert starts([next(ahead)]).tolist() == [0] * 4  # draws three batches
    replay.clear()
    fill(replay, [1])
    assert starts([next(plain)]).tolist() == [1] * 4
    assert [int(starts([next(ahead)])[0]) for _ in range(3)] == [0, 0, 1]


def test_memory_is_the_rows_and_six_bytes_each():
    ring = HostReplay(SPEC, capacity=1000)._ring
    arrays = [*ring.columns.values(), *(x for x in vars(ring).values() if isinstance(x, np.ndarray))]
    assert sum(x.nbytes for x in arrays) == 1000 * (36 + 6)
    assert 36 + 6 <= 1.2 * 36


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_is_taken_as_rows_come():
    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    before = resident()
    replay = HostReplay(SPEC, capacity=20_000_000, priority_exponent=1.0)  # 1.2 GB when full
    fill(replay, range(1000))
    draws(replay, 2)
    assert resident() - before < 100e6


def test_rare_starts_are_drawn_uniformly():
    """With a long stride almost no slot starts a window, and drawing again gives way to listing them."""
    replay = fill(HostReplay(SPEC, capacity=1000, stride=100), range(1000))
    counts = np.bincount(starts(draws(replay, 40)))[::100]
    assert counts.sum() == 40 * 64
    np.testing.assert_allclose(counts / counts.sum(), 0.1, atol=0.035)


def test_windows_of_slow_writers_that_others_overwrote_are_not_given():
    replay = HostReplay(SPEC, capacity=8, sequence_length=3)
    slow, fast = replay.writer(), replay.writer()
    slow(make_row(100))
    slow(make_row(101))
    for t in range(7):  # overwrites row 100, which the window 100, 101, 102 would need
        fast(make_row(t))
    slow(make_row(102))
    assert set(starts(draws(replay)).tolist()) == {0, 1, 2, 3, 4}
    slow(make_row(103))
    slow(make_row(104))
    want = {2: [2, 3, 4], 3: [3, 4, 5], 4: [4, 5, 6], 102: [102, 103, 104]}
    assert set(starts(draws(replay)).tolist()) == set(want)
    for s in draws(replay):
        for window in s.experience.action.tolist():
            assert window == want[window[0]]


def test_random_streams_against_a_naive_model():
    """Writers that interleave, break off and overwrite each other: always exactly the windows that are whole."""
    rng = np.random.default_rng(0)
    for length, stride, capacity in ((1, 1, 7), (2, 1, 9), (3, 2, 20), (4, 1, 30)):
        replay = HostReplay(SPEC, capacity=capacity, sequence_length=length, stride=stride)
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


def test_times_sampled_stop_at_their_largest_number():
    replay = fill(HostReplay(SPEC, capacity=4), range(3))
    replay._ring.times_sampled[:] = 65_500
    seen = [s.info.times_sampled for s in draws(replay, 4)]
    assert max(map(np.max, seen)) == 65_535
    assert min(map(np.min, seen)) >= 65_500


def test_a_buffer_whose_priorities_are_all_zero_says_so():
    replay = fill(HostReplay(SPEC, capacity=9, sequence_length=1, priority_exponent=1.0, timeout=0.1), range(3))
    replay.update_priorities(np.unique(draws(replay)[0].info.key), np.zeros(3))
    assert not replay.can_sample()
    with pytest.raises(TimeoutError, match="priority of every item is 0"):
        next(replay.as_dataset())
    with pytest.raises(ValueError, match="too large"):
        HostReplay.update_priorities(fill(HostReplay(SPEC, capacity=9, priority_exponent=4.0), range(3)), [0], [1e100])


# -- files


def test_a_restored_buffer_goes_on_exactly(tmp_path):
    """The same draws, open windows and keys as the buffer that was saved."""

    def go_on(replay, writer):
        out = []
        for t in range(100, 130):
            replay.add(make_row(t))
            writer(make_row(t + 1000))
            experience, info = next(replay.as_dataset(8))
            out += [experience.action, info.key, info.times_sampled, info.priority]
            replay.update_priorities(info.key, np.arange(8.0))
        return out

    config = {"capacity": 40, "sequence_length": 3, "stride": 2, "priority_exponent": 0.6}
    saved = fill(HostReplay(SPEC, seed=3, **config), range(57))
    writer = saved.writer()
    for t in range(1000, 1006):
        writer(make_row(t))
    draws(saved, 3)
    saved.save(tmp_path)
    restored = HostReplay(SPEC, seed=4, **config)
    restored.load(tmp_path)
    for got, want in zip(go_on(restored, restored.writer()), go_on(saved, writer), strict=True):
        np.testing.assert_array_equal(got, want)


def test_streams_in_step_go_on_too(tmp_path):
    def batch(t):
        return jax.tree.map(lambda *x: np.stack(x), make_row(t), make_row(t + 1000))

    saved = HostReplay(SPEC, capacity=40, sequence_length=3)
    for t in range(2):
        saved.add(batch(t))
    saved.save(tmp_path)
    restored = HostReplay(SPEC, capacity=40, sequence_length=3)
    restored.load(tmp_path)
    restored.add(batch(2))
    assert set(starts(draws(restored)).tolist()) == {0, 1000}


@pytest.mark.parametrize("capacity", [10, 100])
def test_another_capacity_keeps_the_newest_rows(tmp_path, capacity):
    saved = fill(HostReplay(SPEC, capacity=20, sequence_length=3, priority_exponent=1.0), range(33))
    dataset = draws(saved)
    keys, first = np.concatenate([s.info.key for s in dataset]), starts(dataset)
    saved.update_priorities(keys[first == 26], np.full((first == 26).sum(), 8.0))
    saved.save(tmp_path)
    replay = HostReplay(SPEC, capacity=capacity, sequence_length=3, priority_exponent=1.0)
    with pytest.warns(UserWarning, match=f"capacity=20 .this buffer: {capacity}"):
        replay.load(tmp_path)
    oldest = max(13, 33 - capacity)
    assert len(replay) == 33 - oldest
    samples = draws(replay, 40)
    assert set(starts(samples).tolist()) == set(range(oldest, 31))
    for s in samples:
        np.testing.assert_array_equal(np.diff(s.experience.action, axis=1), 1)
        np.testing.assert_array_equal(s.info.priority, np.where(s.experience.action[:, 0] == 26, 8.0, 1.0))
    replay.update_priorities(np.unique(keys), np.full(len(np.unique(keys)), 5.0))  # keys of the other ring are stale
    assert {float(p) for s in draws(replay) for p in s.info.priority} <= {1.0, 8.0}
    fill(replay, range(50, 56))
    left = [t for t in range(oldest, 31) if 33 - t + 6 <= capacity]  # six more rows may push these out
    assert set(starts(draws(replay, 40)).tolist()) == {*left, *range(50, 54)}


def test_another_sequence_length_lays_the_windows_anew(tmp_path):
    saved = HostReplay(SPEC, capacity=12, sequence_length=2)
    for t in range(18):
        saved.add(make_row(t, StepType.FIRST if t == 13 else StepType.MID))
    saved.save(tmp_path)
    replay = HostReplay(SPEC, capacity=12, sequence_length=4, stride=2)
    with pytest.warns(UserWarning, match="sequence_length=2.*stride=1"):
        replay.load(tmp_path)
    samples = draws(replay)
    assert set(starts(samples).tolist()) == {6, 8, 13}  # rows 6..12 and 13..17, from the oldest row of each
    for s in samples:
        np.testing.assert_array_equal(np.diff(s.experience.action, axis=1), 1)


def test_priorities_where_the_file_has_none(tmp_path):
    fill(HostReplay(SPEC, capacity=12), range(5)).save(tmp_path)
    replay = HostReplay(SPEC, capacity=12, priority_exponent=0.5)
    with pytest.warns(UserWarning, match="priority_exponent=None .this buffer: 0.5"):
        replay.load(tmp_path)
    assert set(starts(draws(replay)).tolist()) == {0, 1, 2, 3}
    assert {float(p) for s in draws(replay) for p in s.info.priority} == {1.0}


class FullDisk:
    """A stand-in for `open` whose files accept so many bytes."""

    def __init__(self, limit):
        self.limit = limit

    def __call__(self, path, mode):
        file = open(path, mode)  # noqa: SIM115
        write, written = file.write, 0

        class Wrapper:
            def __getattr__(self, name):
                return getattr(file, name)

            def __enter__(self):
                return self

            def __exit__(self, *_):
                file.close()

            def write(_, data):
                nonlocal written
                written += len(data)
                if written > self.limit:
                    raise OSError(errno.ENOSPC, "No space left on device")
                return write(data)

        return Wrapper()


@pytest.mark.parametrize("limit", [0, 2000])
def test_a_full_disk_leaves_the_earlier_file(tmp_path, monkeypatch, limit):
    from jax_agents.replay import host_files

    replay = fill(HostReplay(SPEC, capacity=100), range(20))
    replay.save(tmp_path)
    fill(replay, range(20, 90))
    monkeypatch.setattr(host_files, "open", FullDisk(limit), raising=False)
    with pytest.raises(OSError, match="No space left"):
        replay.save(tmp_path)
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["replay.npz"]
    restored = HostReplay(SPEC, capacity=100)
    restored.load(tmp_path)
    assert len(restored) == 20
    assert len(replay) == 90  # and the buffer itself works on
    draws(replay, 1)


def test_a_process_killed_before_the_rename_leaves_the_earlier_file(tmp_path):
    program = """
import os, signal, sys
import numpy as np
from jax_agents.envs.specs import ArraySpec, DiscreteSpec, EnvironmentSpecs, trajectory_spec, zeros
from jax_agents.replay import HostReplay
spec = trajectory_spec(EnvironmentSpecs(ArraySpec((4,)), DiscreteSpec(1_000_000)))
replay = HostReplay(spec, capacity=100)
for length in (20, 40):
    while len(replay) < length:
        replay.add(zeros(spec))
    replay.save(sys.argv[1])
    os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], timeout=100)
    assert done.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 2  # the earlier file, and the new one without its name
    replay = HostReplay(SPEC, capacity=100)
    replay.load(tmp_path)
    assert len(replay) == 20
    replay.save(tmp_path)  # takes the place of what was left
    assert [p.name for p in tmp_path.iterdir()] == ["replay.npz"]


def test_rows_of_another_spec_are_refused(tmp_path):
    fill(HostReplay(SPEC, capacity=12), range(5)).save(tmp_path)
    other = HostReplay(SPEC._replace(reward=ArraySpec((), np.int32)), capacity=12)
    with pytest.raises(ValueError, match=r"another spec: expected reward: int32\[\], the file has reward: float32\[\]$"):
        other.load(tmp_path)


def test_saving_while_another_thread_adds_is_one_moment(tmp_path):
    replay, stop = HostReplay(SPEC, capacity=64), threading.Event()

    def work():
        t = 0
        while not stop.is_set():
            replay.add(make_row(t := t + 1))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(5):
            replay.save(tmp_path)
            restored = HostReplay(SPEC, capacity=64)
            restored.load(tmp_path)
            if restored.can_sample():
                for s in draws(restored, 3):
                    np.testing.assert_array_equal(np.diff(s.experience.action, axis=1), 1)
    finally:
        stop.set()
        thread.join()


def test_reverb_is_asked_for_lazily(monkeypatch):
    monkeypatch.setattr(replay_package, "has_reverb", lambda: False)
    with pytest.raises(ImportError, match=r'pip install "jax-agents\[reverb\]"'):
        _ = replay_package.ReverbReplay
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = replay_package.Nonsense
