"""What a file of the in-process buffer holds, what another configuration makes of it, and that
saving is atomic.
"""

import errno
import io
import signal
import subprocess
import sys
import threading

import jax
import numpy as np
import pytest

from jax_agents.envs.specs import ArraySpec
from jax_agents.envs.types import StepType
from jax_agents.replay import HostReplay
from jax_agents.replay.host import files as host_files


def test_a_restored_buffer_goes_on_exactly(tmp_path, spec, make_row, fill, draws):
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
    saved = fill(HostReplay(spec, seed=3, **config), range(57))
    writer = saved.writer()
    for t in range(1000, 1006):
        writer(make_row(t))
    draws(saved, 3)
    saved.save(tmp_path)
    restored = HostReplay(spec, seed=4, **config)
    restored.load(tmp_path)
    for got, want in zip(go_on(restored, restored.writer()), go_on(saved, writer), strict=True):
        np.testing.assert_array_equal(got, want)


def test_streams_in_step_go_on_too(tmp_path, spec, make_row, draws, starts):
    def batch(t):
        return jax.tree.map(lambda *x: np.stack(x), make_row(t), make_row(t + 1000))

    saved = HostReplay(spec, capacity=40, sequence_length=3)
    for t in range(2):
        saved.add(batch(t))
    saved.save(tmp_path)
    restored = HostReplay(spec, capacity=40, sequence_length=3)
    restored.load(tmp_path)
    restored.add(batch(2))
    assert starts(draws(restored)) == {0, 1000}


@pytest.mark.parametrize("capacity", [10, 100])
def test_another_capacity_keeps_the_newest_rows(
    tmp_path, capacity, spec, fill, draws, first_rows, starts
):
    saved = fill(HostReplay(spec, capacity=20, sequence_length=3, priority_exponent=1.0), range(33))
    dataset = draws(saved)
    keys, first = np.concatenate([s.info.key for s in dataset]), first_rows(dataset)
    saved.update_priorities(keys[first == 26], np.full((first == 26).sum(), 8.0))
    saved.save(tmp_path)
    replay = HostReplay(spec, capacity=capacity, sequence_length=3, priority_exponent=1.0)
    with pytest.warns(UserWarning, match=f"capacity=20 .this buffer: {capacity}"):
        replay.load(tmp_path)
    oldest = max(13, 33 - capacity)
    assert len(replay) == 33 - oldest
    samples = draws(replay, 40)
    assert starts(samples) == set(range(oldest, 31))
    for s in samples:
        np.testing.assert_array_equal(np.diff(s.experience.action, axis=1), 1)
        np.testing.assert_array_equal(
            s.info.priority, np.where(s.experience.action[:, 0] == 26, 8.0, 1.0)
        )
    # keys of the other ring are stale
    replay.update_priorities(np.unique(keys), np.full(len(np.unique(keys)), 5.0))
    assert {float(p) for s in draws(replay) for p in s.info.priority} <= {1.0, 8.0}
    fill(replay, range(50, 56))
    # six more rows may push these out
    left = [t for t in range(oldest, 31) if 33 - t + 6 <= capacity]
    assert starts(draws(replay, 40)) == {*left, *range(50, 54)}


def test_another_sequence_length_lays_the_windows_anew(tmp_path, spec, make_row, draws, starts):
    saved = HostReplay(spec, capacity=12, sequence_length=2)
    for t in range(18):
        saved.add(make_row(t, StepType.FIRST if t == 13 else StepType.MID))
    saved.save(tmp_path)
    replay = HostReplay(spec, capacity=12, sequence_length=4, stride=2)
    with pytest.warns(UserWarning, match="sequence_length=2.*stride=1"):
        replay.load(tmp_path)
    samples = draws(replay)
    assert starts(samples) == {6, 8, 13}  # rows 6..12 and 13..17, from the oldest row of each
    for s in samples:
        np.testing.assert_array_equal(np.diff(s.experience.action, axis=1), 1)


def test_priorities_where_the_file_has_none(tmp_path, spec, fill, draws, starts):
    fill(HostReplay(spec, capacity=12), range(5)).save(tmp_path)
    replay = HostReplay(spec, capacity=12, priority_exponent=0.5)
    with pytest.warns(UserWarning, match="priority_exponent=None .this buffer: 0.5"):
        replay.load(tmp_path)
    assert starts(draws(replay)) == {0, 1, 2, 3}
    assert {float(p) for s in draws(replay) for p in s.info.priority} == {1.0}


class FullDisk(io.FileIO):
    """A file that accepts so many bytes."""

    def __init__(self, path, mode, limit):
        super().__init__(path, mode)
        self.left = limit

    def write(self, data):
        self.left -= memoryview(data).nbytes
        if self.left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


@pytest.mark.parametrize("limit", [0, 2000])
def test_a_full_disk_leaves_the_earlier_file(tmp_path, monkeypatch, limit, spec, fill, draws):
    replay = fill(HostReplay(spec, capacity=100), range(20))
    replay.save(tmp_path)
    fill(replay, range(20, 90))
    monkeypatch.setattr(
        host_files, "open", lambda path, mode: FullDisk(path, mode, limit), raising=False
    )
    with pytest.raises(OSError, match="No space left"):
        replay.save(tmp_path)
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["replay.npz"]
    restored = HostReplay(spec, capacity=100)
    restored.load(tmp_path)
    assert len(restored) == 20
    assert len(replay) == 90  # and the buffer itself works on
    draws(replay, 1)


def test_a_process_killed_before_the_rename_leaves_the_earlier_file(tmp_path, spec):
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
    replay = HostReplay(spec, capacity=100)
    replay.load(tmp_path)
    assert len(replay) == 20
    replay.save(tmp_path)  # takes the place of what was left
    assert [p.name for p in tmp_path.iterdir()] == ["replay.npz"]


def test_rows_of_another_spec_are_refused(tmp_path, spec, fill):
    fill(HostReplay(spec, capacity=12), range(5)).save(tmp_path)
    other = HostReplay(spec._replace(reward=ArraySpec((), np.float16)), capacity=12)
    with pytest.raises(
        ValueError,
        match=r"another spec: expected reward: float16\[\], the file has reward: float32\[\]$",
    ):
        other.load(tmp_path)


def test_saving_while_another_thread_adds_is_one_moment(tmp_path, spec, make_row, draws):
    replay, stop = HostReplay(spec, capacity=64), threading.Event()

    def work():
        t = 0
        while not stop.is_set():
            replay.add(make_row(t := t + 1))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(5):
            replay.save(tmp_path)
            restored = HostReplay(spec, capacity=64)
            restored.load(tmp_path)
            if restored.can_sample():
                for s in draws(restored, 3):
                    np.testing.assert_array_equal(np.diff(s.experience.action, axis=1), 1)
    finally:
        stop.set()
        thread.join()
