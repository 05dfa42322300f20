"""What only `ReverbReplay` does; the conformance suite has what it shares with the other buffers."""

import itertools
import json
import os
import subprocess
import sys
import threading
import time
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax_agents.envs.specs import ArraySpec, DiscreteSpec, EnvironmentSpecs, trajectory_spec
from jax_agents.envs.types import Trajectory
from jax_agents.replay import has_reverb, reverb_checkpoint, reverb_dataset, reverb_runtime, reverb_writer
from jax_agents.replay.packing import RowLayout
from jax_agents.replay.reverb import ReverbReplay

pytestmark = pytest.mark.skipif(not has_reverb(), reason="Reverb is not installed")

SPEC = trajectory_spec(EnvironmentSpecs(ArraySpec((4,)), DiscreteSpec(2)))


def row(number, step_type=1, next_step_type=1):
    observation = np.full(4, number, np.float32)
    number, one = np.float32(number), np.float32(1)
    return Trajectory(np.int32(step_type), observation, np.int32(0), (), np.int32(next_step_type), number, one)


def fill(replay, numbers):
    for number in numbers:
        replay.add(row(number))
    return replay


def starts(dataset, batches):
    """The first rows' numbers in so many batches, whose windows must be consecutive."""
    found = set()
    for experience, _ in itertools.islice(dataset, batches):
        steps = np.diff(experience.reward, axis=1)
        np.testing.assert_array_equal(steps, np.ones_like(steps))
        np.testing.assert_array_equal(
            experience.observation, np.broadcast_to(experience.reward[..., None], (*experience.reward.shape, 4))
        )
        found |= set(experience.reward[:, 0].astype(int).tolist())
    return found


@pytest.fixture
def make():
    made = []

    def build(**config):
        made.append(ReverbReplay(SPEC, **{"capacity": 1000, "timeout": 3.0, **config}))
        return made[-1]

    yield build
    for replay in reversed(made):
        replay.close()


def in_thread(function):
    """Runs `function` in a thread; its result or exception is appended to the list returned with the thread."""
    out = []

    def run():
        try:
            out.append(function())
        except BaseException as error:
            out.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, out


def test_windows_are_slices_of_the_last_rows_and_no_other():
    seen = []
    client = types.SimpleNamespace(structured_writer=seen.extend)
    columns = dict.fromkeys(("packed", "leaf3"))
    replay = types.SimpleNamespace(
        columns=columns, sequence_length=3, stride=2, table="t", client=client, layout=RowLayout(SPEC)
    )
    reverb_writer.make_writer(replay)
    assert [[(node.start, node.HasField("stop"), node.HasField("step")) for node in c.flat] for c in seen] == [
        [(-3, False, False)] * 2,
        [(-reverb_writer.LONGEST_CHUNK, False, False)] * 2,
    ]


def test_rows_of_jax_arrays(make):
    replay = make()
    for number in range(3):
        replay.add(jax.tree.map(jnp.asarray, row(number)))
    assert starts(replay.as_dataset(16), 3) == {0, 1}


def test_a_bootstrap_row_at_an_episodes_first_step_is_not_continued(make):
    replay = make()
    replay.add(row(0, 2, 0))
    replay.add(row(1, 0, 0))  # step type FIRST, zeros elsewhere
    replay.add(row(2, 0, 1))  # the real row of the same observation
    replay.add(row(3, 1, 1))
    assert replay.can_sample(2)
    assert not replay.can_sample(3)
    assert starts(replay.as_dataset(32), 4) == {0, 2}


def test_new_rows_become_visible_without_a_flush(make):
    replay = fill(make(), range(300))
    dataset = replay.as_dataset(64, prefetch=0)
    next(dataset)
    for number in range(300, 600):
        replay.add(row(number))
        next(dataset)
    assert max(starts(dataset, 60)) >= 600 - 2 - reverb_writer.LONGEST_CHUNK
    assert replay.client.server_info()["experience"].current_size > 599 - reverb_writer.LONGEST_CHUNK


def test_handovers_of_many_batches_are_cut_into_different_ones(make):
    replay = fill(make(capacity=5000), range(4500))
    dataset = replay.as_dataset(64)
    batches = [next(dataset) for _ in range(20)]
    assert dataset._batches_per_handover == 8
    assert all(leaf.shape[:1] == (64,) for batch in batches for leaf in jax.tree.leaves(batch))
    assert len({tuple(batch.info.key.tolist()) for batch in batches}) == 20
    starts(iter(batches), 20)


def test_the_look_ahead_grows_with_the_table(make, monkeypatch):
    monkeypatch.setattr(reverb_dataset, "PROBATION", 4)
    replay = fill(make(capacity=5000), range(100))
    dataset = replay.as_dataset(64)
    next(dataset)
    assert dataset._batches_per_handover == 1
    fill(replay, range(100, 2500))
    starts(dataset, 30)
    assert dataset._batches_per_handover == 8


def test_clear_also_drops_what_was_read_ahead(make):
    replay = fill(make(), range(2000))
    dataset = replay.as_dataset(64)
    next(dataset)
    replay.clear()
    fill(replay, range(5000, 5005))
    assert starts(dataset, 20) == set(range(5000, 5004))


def test_two_objects_and_another_process_share_a_server(make):
    replay = fill(make(), range(10))
    other = make(address=replay.address)
    code = (
        "import sys, numpy as np\n"
        "from jax_agents.envs.specs import ArraySpec, DiscreteSpec, EnvironmentSpecs, trajectory_spec, zeros\n"
        "from jax_agents.replay import ReverbReplay\n"
        "spec = trajectory_spec(EnvironmentSpecs(ArraySpec((4,)), DiscreteSpec(2)))\n"
        "replay = ReverbReplay(spec, capacity=1000, address=sys.argv[1])\n"
        "for i in range(100, 110):\n"
        "    n = np.float32(i)\n"
        "    row = zeros(spec)._replace(step_type=np.int32(1), next_step_type=np.int32(1))\n"
        "    replay.add(row._replace(observation=np.full(4, n), reward=n))\n"
        "replay.close()\n"
    )
    subprocess.run([sys.executable, "-c", code, replay.address], check=True, timeout=120)
    fill(other, range(200, 210))
    assert other.can_sample(27)
    assert len(replay) == len(other) == 28  # what 27 items need at least; 30 rows were added in three places
    want = {*range(9), *range(100, 109), *range(200, 209)}
    assert starts(replay.as_dataset(64), 20) == starts(other.as_dataset(64), 20) == want
    with pytest.raises(RuntimeError, match="process that started the server"):
        other.save("anywhere")
    with pytest.raises(RuntimeError, match="process that started the server"):
        other.load("anywhere")


def test_an_address_that_cannot_serve(make):
    replay = make(min_size=3)
    for config, told in (
        ({"capacity": 7}, "max_items: the server has 999, got 6"),
        ({"min_size": 1}, "min_size: the server has 3, got 1"),
        ({"min_size": 3, "priority_exponent": 0.5}, "priority_exponent: the server has None, got 0.5"),
        ({"min_size": 3, "capacity": 1001, "sequence_length": 3}, "rows: the server has"),
        ({"min_size": 3, "table": "other"}, r"no table 'other', only \['experience'\]"),
    ):
        with pytest.raises(ValueError, match=told):
            make(address=replay.address, **config)
    with pytest.raises(ConnectionError, match=r"localhost:1 .*is it running"):
        make(address="localhost:1", timeout=1.0)


def test_a_server_that_dies_ends_waits_and_lets_clients_close(make):
    replay = make()
    other = make(address=replay.address, timeout=1.0)
    fill(other, range(10))
    dataset = other.as_dataset(8, prefetch=0)
    next(dataset)
    fill(other, range(10, 12))
    replay.close()
    start = time.monotonic()
    with pytest.raises((TimeoutError, ConnectionError), match=r"no Reverb server answers|longer than timeout=1 s"):
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
def test_close_while_readers_and_writers_are_at_work(make, remote):
    server = fill(make(), range(500))
    replay = make(address=server.address) if remote else server
    begun = threading.Barrier(3)

    def read():
        dataset = replay.as_dataset(32)
        next(dataset)
        begun.wait(10)
        return sum(1 for _ in dataset)

    def write():
        observe = replay.writer()
        observe(row(0))
        begun.wait(10)
        for number in itertools.count(1):
            observe(row(number))

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


def test_close_while_a_reader_is_blocked_inside_reverb(make):
    replay = fill(make(timeout=60.0), range(10))
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


def test_a_forked_child_gets_an_error_rather_than_a_hang(make, monkeypatch):
    replay = make()
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(RuntimeError, match='"spawn"'):
        replay.add(row(0))
    with pytest.raises(RuntimeError, match='"spawn"'):
        next(replay.as_dataset(2))
    monkeypatch.undo()
    assert starts(fill(replay, range(3)).as_dataset(8), 2) == {0, 1}


def test_a_restored_buffer_goes_on_and_saves_again(make, tmp_path):
    fill(make(checkpoint_dir=tmp_path / "private"), range(20)).save(tmp_path / "a")
    restored = make(checkpoint_dir=tmp_path / "private")
    restored.load(tmp_path / "a")
    assert restored.can_sample(19)
    fill(restored, range(100, 105))
    restored.save(tmp_path / "a")
    again = make()
    again.load(tmp_path / "a")
    assert len(again) == 25
    assert starts(again.as_dataset(64), 20) == {*range(19), *range(100, 104)}
    assert sorted(p.name.split("-data-")[0] for p in (tmp_path / "a").iterdir()) == ["reverb", "reverb.json"]
    restored.close()
    again.close()
    assert len(list((tmp_path / "private").iterdir())) == 1  # that of the first, which is still open


def test_a_save_that_fails_leaves_the_one_before(make, tmp_path, monkeypatch):
    replay = fill(make(), range(5))
    replay.save(tmp_path)
    fill(replay, range(5, 10))
    with monkeypatch.context() as patch:
        patch.setattr(reverb_checkpoint.os, "replace", lambda *_: (_ for _ in ()).throw(OSError("No space left on device")))
        with pytest.raises(OSError, match="No space left"):
            replay.save(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2  # nothing half done is left
    killed = tmp_path / f"{reverb_checkpoint.DATA}killed"  # as a process that was killed leaves it
    killed.mkdir()
    restored = make()
    restored.load(tmp_path)
    assert len(restored) == 5
    replay.save(tmp_path)
    assert not killed.exists()
    restored.load(tmp_path)
    assert len(restored) == 10


def test_settings_of_this_buffer_hold_where_a_saved_one_differs(make, tmp_path):
    fill(make(capacity=50, priority_exponent=1.0), range(20)).save(tmp_path)
    replay = make(capacity=100, priority_exponent=0.0, min_size=5)
    with pytest.warns(
        UserWarning, match=r"max_items: saved 49, now 99; min_size: saved 1, now 5; priority_exponent: saved 1.0"
    ):
        replay.load(tmp_path)
    info = replay.client.server_info()["experience"]
    assert (info.max_size, info.rate_limiter_info.min_size_to_sample) == (99, 5)
    keys = next(replay.as_dataset(64)).info.key[:1]
    replay.update_priorities(keys, [1000.0])  # to the power of 0: as likely as all others
    assert len(starts(replay.as_dataset(64), 10)) == 19
    fill(replay, range(20, 150))
    assert len(replay) == 100
    assert starts(replay.as_dataset(64), 30) == set(range(50, 149))


def test_a_saved_buffer_of_another_kind_is_refused_and_nothing_is_lost(make, tmp_path):
    fill(make(capacity=50), range(20)).save(tmp_path)
    for config, told in (
        ({"sequence_length": 3}, "sequence_length: saved 2, this buffer has 3"),
        ({"stride": 2}, "stride: saved 1, this buffer has 2"),
        ({"priority_exponent": 0.5}, "priority_exponent: saved None, this buffer has 0.5"),
        ({"capacity": 10}, "holds 19 items, this buffer at most 9; raise its capacity"),
    ):
        replay = fill(make(**config), range(100, 104))
        with pytest.raises(ValueError, match=told):
            replay.load(tmp_path)
        assert replay.can_sample()
        assert starts(replay.as_dataset(16), 1) <= set(range(100, 104))


def test_files_that_are_missing_or_damaged_are_noticed(make, tmp_path):
    replay = fill(make(), range(5))
    replay.save(tmp_path)
    manifest = json.loads((tmp_path / "reverb.json").read_text())
    (tmp_path / manifest["data"] / "DONE").unlink()  # which Reverb takes for an unfinished checkpoint, and starts empty
    with pytest.raises(ValueError, match=r"damaged.*4 items were saved, and 0 were read back"):
        replay.load(tmp_path)
    (tmp_path / "reverb.json").write_text("{}")
    with pytest.raises(ValueError, match=r"reverb\.json is damaged"):
        replay.load(tmp_path)
    assert starts(replay.as_dataset(16), 10) == set(range(4))


def test_arguments_that_reverb_cannot_serve(make):
    with pytest.raises(ValueError, match=r"cannot be seeded.*HostReplay"):
        make(seed=1)
    with pytest.raises(ValueError, match="min_size=10 items can never be reached: capacity=10 rows hold 9"):
        make(capacity=10, min_size=10)


def test_without_reverb_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "reverb", None)
    with pytest.raises(ImportError, match=r'pip install "jax-agents\[reverb\]"'):
        reverb_runtime.import_reverb.__wrapped__()


def test_only_routine_lines_are_kept_from_stderr(capfd):
    with reverb_runtime.quiet():
        os.write(2, b"[reverb/cc/server.cc:71] Started replay server on port 1\n[reverb/cc/server.cc:9] Out of memory\nmine\n")
    assert capfd.readouterr().err == "[reverb/cc/server.cc:9] Out of memory\nmine\n"
