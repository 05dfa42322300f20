"""What only `ReverbReplay` does: servers that are shared, that die, and that are closed."""

import itertools
import os
import subprocess
import sys
import threading
import time

import pytest

from jax_agents.replay import has_reverb

pytestmark = pytest.mark.skipif(not has_reverb(), reason="Reverb is not installed")


def in_thread(function):
    """Runs `function` in a thread; returns it and a list that gets the result or exception."""
    out = []

    def run():
        try:
            out.append(function())
        except BaseException as error:
            out.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, out


def test_two_objects_and_another_process_share_a_server(make_reverb, fill, starts):
    replay = fill(make_reverb(), range(10))
    other = make_reverb(address=replay.address)
    code = (
        "import sys, numpy as np\n"
        "from jax_agents.envs.specs import ArraySpec, DiscreteSpec, EnvironmentSpecs, "
        "trajectory_spec, zeros\n"
        "from jax_agents.replay import ReverbReplay\n"
        "spec = trajectory_spec(EnvironmentSpecs(ArraySpec((4,)), DiscreteSpec(1_000_000)))\n"
        "replay = ReverbReplay(spec, capacity=1000, address=sys.argv[1])\n"
        "for i in range(100, 110):\n"
        "    n = np.float32(i)\n"
        "    row = zeros(spec)._replace(step_type=np.int32(1), next_step_type=np.int32(1))\n"
        "    replay.add(row._replace(observation=np.full(4, n), action=np.int32(i), reward=n))\n"
        "replay.close()\n"
    )
    subprocess.run([sys.executable, "-c", code, replay.address], check=True, timeout=120)
    fill(other, range(200, 210))
    assert other.can_sample(27)
    # what 27 items need at least; 30 rows were added in three places
    assert len(replay) == len(other) == 28
    want = {*range(9), *range(100, 109), *range(200, 209)}
    assert starts(replay.as_dataset(64), 20) == starts(other.as_dataset(64), 20) == want
    with pytest.raises(RuntimeError, match="process that started the server"):
        other.save("anywhere")
    with pytest.raises(RuntimeError, match="process that started the server"):
        other.load("anywhere")


def test_an_address_that_cannot_serve(make_reverb):
    replay = make_reverb(min_size=3)
    for config, told in (
        ({"capacity": 7}, "max_items: the server has 999, got 6"),
        ({"min_size": 1}, "min_size: the server has 3, got 1"),
        (
            {"min_size": 3, "priority_exponent": 0.5},
            "priority_exponent: the server has None, got 0.5",
        ),
        (
            {"min_size": 3, "capacity": 1001, "sequence_length": 3},
            "sequence_length: the table has 2, got 3",
        ),
        ({"min_size": 3, "table": "other"}, r"no table 'other', only \['experience'\]"),
    ):
        with pytest.raises(ValueError, match=told):
            make_reverb(address=replay.address, **config)
    with pytest.raises(ConnectionError, match=r"localhost:1 .*is it running"):
        make_reverb(address="localhost:1", timeout=1.0)


def test_a_server_that_dies_ends_waits_and_lets_clients_close(make_reverb, fill):
    replay = make_reverb()
    other = make_reverb(address=replay.address, timeout=1.0)
    fill(other, range(10))
    dataset = other.as_dataset(8, prefetch=0)
    next(dataset)
    fill(other, range(10, 12))
    replay.close()
    start = time.monotonic()
    with pytest.raises(
        (TimeoutError, ConnectionError), match=r"no Reverb server answers|longer than timeout=1 s"
    ):
        for _ in range(100_000):
            next(dataset)
    with pytest.raises((TimeoutError, ConnectionError), match="no Reverb server answers"):
        next(other.as_dataset(8))
    assert time.monotonic() - start < 15
    fill(other, range(12, 15))
    start = time.monotonic()
    other.close()
    assert time.monotonic() - start < 2


@pytest.mark.parametrize("remote", [False, True])
def test_close_while_readers_and_writers_are_at_work(make_reverb, remote, make_row, fill):
    server = fill(make_reverb(), range(500))
    replay = make_reverb(address=server.address) if remote else server
    begun = threading.Barrier(3)

    def read():
        dataset = replay.as_dataset(32)
        next(dataset)
        begun.wait(10)
        return sum(1 for _ in dataset)

    def write():
        observe = replay.writer()
        observe(make_row(0))
        begun.wait(10)
        for number in itertools.count(1):
            observe(make_row(number))

    reader, read_out = in_thread(read)
    writer, write_out = in_thread(write)
    begun.wait(10)
    time.sleep(0.1)
    start = time.monotonic()
    replay.close()
    assert time.monotonic() - start < 2
    reader.join(5)
    writer.join(5)
    assert isinstance(read_out[0], int)
    assert isinstance(write_out[0], RuntimeError)
    assert "closed" in str(write_out[0])


def test_close_while_a_reader_is_blocked_inside_reverb(make_reverb, fill):
    replay = fill(make_reverb(timeout=60.0), range(10))
    dataset = replay.as_dataset(8, prefetch=0)
    next(dataset)
    replay.client.reset("experience")  # as another process might: the reader is not told
    reader, out = in_thread(lambda: sum(1 for _ in dataset))
    time.sleep(0.1)
    start = time.monotonic()
    replay.close()
    reader.join(5)
    assert time.monotonic() - start < 2
    assert isinstance(out[0], int)


def test_a_forked_child_gets_an_error_rather_than_a_hang(
    make_reverb, monkeypatch, make_row, fill, starts
):
    replay = make_reverb()
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(RuntimeError, match='"spawn"'):
        replay.add(make_row(0))
    with pytest.raises(RuntimeError, match='"spawn"'):
        next(replay.as_dataset(2))
    monkeypatch.undo()
    assert starts(fill(replay, range(3)).as_dataset(8), 2) == {0, 1}


def test_arguments_that_reverb_cannot_serve(make_reverb):
    with pytest.raises(ValueError, match=r"cannot be seeded.*HostReplay"):
        make_reverb(seed=1)
    with pytest.raises(
        ValueError, match="min_size=10 items can never be reached: capacity=10 rows hold 9"
    ):
        make_reverb(capacity=10, min_size=10)
