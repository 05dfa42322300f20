"""What only `RemoteReplay` does; the conformance suite has what all buffers share."""

import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from jax_agents.envs.specs import ArraySpec, DiscreteSpec, EnvironmentSpecs, trajectory_spec
from jax_agents.envs.types import Trajectory
from jax_agents.replay import has_reverb
from jax_agents.replay.remote import RemoteReplay

SPEC = trajectory_spec(EnvironmentSpecs(ArraySpec((4,)), DiscreteSpec(2)))
ROOT = pathlib.Path(__file__).parents[3]
needs_reverb = pytest.mark.skipif(not has_reverb(), reason="Reverb is not installed")


def row(number):
    one = np.float32(1)
    return Trajectory(
        np.int32(1),
        np.full(4, number, np.float32),
        np.int32(0),
        (),
        np.int32(1),
        np.float32(number),
        one,
    )


def fill(add, numbers):
    for number in numbers:
        add(row(number))


def python_with_reverb():
    """An interpreter with Reverb: this one, that which the environment names, the repository's."""
    candidates = [
        os.environ.get("JAX_AGENTS_REVERB_PYTHON"),
        str(ROOT / ".venv" / "bin" / "python"),
    ]
    if has_reverb():
        return sys.executable
    for candidate in filter(None, candidates):
        check = [
            candidate,
            "-c",
            "import importlib.util as u, sys; sys.exit(u.find_spec('reverb') is None)",
        ]
        if os.path.exists(candidate) and subprocess.run(check, check=False).returncode == 0:
            return candidate
    return pytest.skip("no Python with Reverb; name one in JAX_AGENTS_REVERB_PYTHON")


def serve(*options):
    """A server process and its address."""
    command = [python_with_reverb(), "-m", "jax_agents", "replay-server", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    line = process.stdout.readline()
    match = re.match(r"replay server at (\S+): (.*)", line)
    if match is None:
        process.kill()
        raise AssertionError(line + process.stderr.read())
    return process, match.group(1), match.group(2)


def test_a_server_process_saves_at_the_end_and_goes_on_from_there(tmp_path):
    options = (
        "--capacity",
        "1000",
        "--sampler",
        "prioritized",
        "--priority-exponent",
        "1.0",
        "--checkpoint-dir",
        str(tmp_path),
    )
    config = {"capacity": 1000, "priority_exponent": 1.0, "timeout": 20.0}
    process, address, held = serve(*options)
    try:
        assert held == "experience (0 items)"
        replay = RemoteReplay(SPEC, address, **config)
        fill(replay.add, range(50))
        experience, info = next(replay.as_dataset(64))
        assert set((experience.reward[:, 1] - experience.reward[:, 0]).tolist()) == {1.0}
        replay.update_priorities(info.key[:1], [3.0])
        key = int(info.key[0])
        with pytest.raises(RuntimeError, match="--checkpoint-dir"):
            replay.save(tmp_path)
        replay.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert "checkpoint: " in process.stdout.read()
    finally:
        process.kill()
    process, address, held = serve(*options)
    try:
        assert held == "experience (49 items)"
        replay = RemoteReplay(SPEC, address, **config)
        samples = replay.as_dataset(64, prefetch=0)
        infos = [next(samples).info for _ in range(30)]
        seen = {
            int(k): float(p) for info in infos for k, p in zip(info.key, info.priority, strict=True)
        }
        assert seen[key] == 3.0
        assert len(replay) == 50
        replay.close()
    finally:
        process.kill()
        process.wait(10)


@needs_reverb
def test_rows_of_a_writer_that_was_dropped_are_sent():
    from jax_agents.replay import ReverbReplay

    server = ReverbReplay(SPEC, capacity=100)
    replay = RemoteReplay(SPEC, server.address, capacity=100, timeout=5.0)
    fill(replay.writer(), range(10))  # fewer than make a chunk
    assert replay.can_sample(9)
    replay.close()
    server.close()


@needs_reverb
def test_several_servers_are_sampled_as_one():
    from jax_agents.replay import ReverbReplay

    config = {"capacity": 100, "priority_exponent": 1.0, "timeout": 5.0}
    servers = [ReverbReplay(SPEC, **config) for _ in range(2)]
    addresses = [server.address for server in servers]
    replay = RemoteReplay(SPEC, addresses, **(config | {"capacity": 200}))
    writers = [replay.writer(), replay.writer()]  # one for each server
    fill(writers[0], range(31))
    fill(writers[1], range(100, 111))
    assert replay.can_sample(40)
    assert not replay.can_sample(41)
    assert sorted(len(server) for server in servers) == [11, 31]
    samples = replay.as_dataset(64, prefetch=0)
    drawn = [next(samples) for _ in range(40)]
    first = np.concatenate([s.experience.reward[:, 0] for s in drawn])
    assert set(first.tolist()) == {*range(30), *range(100, 110)}
    np.testing.assert_allclose((first >= 100).mean(), 0.25, atol=0.06)
    assert all((s.info.table_size == 40).all() for s in drawn)
    np.testing.assert_allclose(
        np.concatenate([s.info.probability for s in drawn]), 1 / 40, rtol=1e-6
    )
    keys = np.concatenate([s.info.key for s in drawn])
    # as much as all others, and 2 more
    replay.update_priorities(keys[first == 105], np.full((first == 105).sum(), 41.0))
    drawn = [next(samples) for _ in range(60)][10:]
    first = np.concatenate([s.experience.reward[:, 0] for s in drawn])
    np.testing.assert_allclose((first == 105).mean(), 41 / 80, atol=0.08)
    replay.clear()
    assert len(replay) == 0
    replay.close()
    for server in servers:
        server.close()


@needs_reverb
def test_a_server_that_dies_ends_waits_and_lets_clients_close():
    from jax_agents.replay import ReverbReplay

    server = ReverbReplay(SPEC, capacity=100, timeout=3.0)
    replay = RemoteReplay(SPEC, server.address, capacity=100, timeout=1.0)
    fill(replay.add, range(10))
    dataset = replay.as_dataset(8, prefetch=0)
    next(dataset)
    server.close()
    fill(replay.add, range(10, 12))
    begin = time.monotonic()
    with pytest.raises(ConnectionError, match=f"no Reverb server answers at {server.address}"):
        for _ in range(100_000):
            next(dataset)
    assert time.monotonic() - begin < 10
    begin = time.monotonic()
    replay.close()
    assert time.monotonic() - begin < 3


@needs_reverb
def test_tables_that_differ_are_named():
    from jax_agents.replay import ReverbReplay

    server = ReverbReplay(SPEC, capacity=100)
    for config, told in (
        ({"capacity": 90}, "room for 100 rows, got 90"),
        ({"priority_exponent": 0.5}, "priority_exponent: the server has None, got 0.5"),
        ({"sequence_length": 3}, "sequence_length: the table has 2, got 3"),
        ({"table": "other"}, "no table 'other'"),
    ):
        with pytest.raises(ValueError, match=told):
            RemoteReplay(SPEC, server.address, **config)
    server.close()


def test_without_a_server():
    with pytest.raises(ConnectionError, match=r"localhost:1 .*is it running"):
        RemoteReplay(SPEC, "localhost:1", timeout=0.5)
    with pytest.raises(ValueError, match="at least one"):
        RemoteReplay(SPEC, [])
    with pytest.raises(ValueError, match=r"cannot be seeded.*HostReplay"):
        RemoteReplay(SPEC, "localhost:1", seed=1)
