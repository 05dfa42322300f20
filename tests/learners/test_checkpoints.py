import errno
import json
import os
import random
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_agents.agents.agent import init_state
from jax_agents.envs.specs import ArraySpec, DiscreteSpec, EnvironmentSpecs, trajectory_spec
from jax_agents.envs.types import Trajectory
from jax_agents.learners import checkpoint_files
from jax_agents.learners.checkpoints import Checkpointer, CheckpointError
from jax_agents.replay import HostReplay


def make_state(seed=0, size=3):
    params = {
        "q": {
            "kernel": jnp.arange(2.0 * size).reshape(2, size) + seed,
            "bias": jnp.full((size,), seed, jnp.bfloat16),
        }
    }
    extra = {
        "count": jnp.uint32(seed),
        "nothing": jnp.zeros((0, 3)),
        "flags": jnp.array([True, False]),
        "keys": jax.random.split(jax.random.key(seed)),
    }
    return init_state(params, optax.adam(0.1), jax.random.key(seed + 100), params, extra)


def assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


@pytest.fixture
def saved(tmp_path):
    checkpointer = Checkpointer(tmp_path / "checkpoints", keep=2)
    for step in (1, 2, 10):
        checkpointer.save(step, make_state(step), metadata={"at": step})
    return checkpointer


def test_restores_every_kind_of_leaf_bit_for_bit_and_keeps_the_newest(saved):
    assert saved.steps() == [2, 10]
    assert saved.latest() == 10
    state, metadata = saved.restore(make_state(0))
    assert_same(state, make_state(10))
    assert metadata == {"at": 10}
    state, metadata = saved.restore(make_state(0), step=2)
    assert_same(state, make_state(2))
    # typed keys are keys again
    np.testing.assert_array_equal(
        jax.random.normal(state.key, (3,)), jax.random.normal(make_state(2).key, (3,))
    )


def test_another_process_restores_the_same_folder_with_a_relative_name(saved, monkeypatch):
    monkeypatch.chdir(saved.folder.parent)
    state, _ = Checkpointer("checkpoints").restore(make_state(0))
    assert_same(state, make_state(10))


def test_replay_goes_into_a_folder_of_its_own(tmp_path):
    specs = EnvironmentSpecs(ArraySpec((2,), np.float32), DiscreteSpec(3))
    spec = trajectory_spec(specs)
    buffer = HostReplay(spec, capacity=10, sequence_length=2, seed=1)
    for i in range(7):
        row = Trajectory(
            np.int32(1),
            np.full(2, i, np.float32),
            np.int32(1),
            (),
            np.int32(1),
            np.float32(i),
            np.float32(1),
        )
        buffer.add(row)
    checkpointer = Checkpointer(tmp_path)
    path = checkpointer.save(3, make_state(), buffer)
    assert (path / "replay").is_dir()
    other = HostReplay(spec, capacity=10, sequence_length=2, seed=2)
    checkpointer.restore(make_state(), other)
    assert len(other) == 7
    wanted = next(buffer.as_dataset(16))
    got = next(other.as_dataset(16))
    np.testing.assert_array_equal(wanted.experience.reward, got.experience.reward)
    (file,) = (path / "replay").iterdir()
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match=r"replay\.npz is damaged.*there is no earlier one"):
        checkpointer.restore(make_state(), other)
    assert len(other) == 7


def test_what_dead_saves_left_is_no_checkpoint_and_goes_with_the_next_save(saved):
    shutil.copytree(saved.path(10), saved.folder / ".writing-dead")
    shutil.copytree(saved.path(10), saved.folder / ".deleting-dead")
    assert saved.steps() == [2, 10]
    saved.save(11, make_state(11))
    assert sorted(os.listdir(saved.folder)) == ["checkpoint_00000010", "checkpoint_00000011"]


def test_a_save_of_the_same_step_replaces_it(saved):
    saved.save(10, make_state(77), metadata={"at": 77})
    assert_same(saved.restore(make_state())[0], make_state(77))
    assert saved.steps() == [2, 10]


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


@pytest.mark.parametrize("call", ["rename", "fsync", "mkdir"])
def test_death_during_a_save_leaves_the_earlier_ones_whole(saved, monkeypatch, call):
    real = getattr(os, call)
    rng = random.Random(0)

    def die(*args, **kwargs):
        if rng.random() < 0.3:
            raise Killed
        return real(*args, **kwargs)

    for _ in range(4):
        with monkeypatch.context() as patch:
            patch.setattr(os, call, die)
            try:
                saved.save(11, make_state(11))
                break
            except Killed:
                pass
        steps = saved.steps()
        assert steps[-1] in (10, 11)
        for step in steps:
            assert_same(saved.restore(make_state(), step=step)[0], make_state(step))
    saved.save(12, make_state(12))
    assert_same(saved.restore(make_state())[0], make_state(12))
    assert all(name.startswith("checkpoint_") for name in os.listdir(saved.folder))


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        ValueError("RESOURCE_EXHAUSTED: No space left on device [x.cc]"),
    ],
)
def test_a_full_disk_is_a_clear_error_and_costs_nothing(saved, monkeypatch, error):
    # orbax's C++ code reports a full disk as a ValueError.
    write = checkpoint_files.write_state

    def full(path, state):
        write(path, state)
        raise error

    monkeypatch.setattr(checkpoint_files, "write_state", full)
    with pytest.raises(
        OSError,
        match=r"checkpoint_00000011 could not be written: .*No space.*steps \[2, 10\] are whole",
    ) as caught:
        saved.save(11, make_state(11))
    assert caught.value.errno == errno.ENOSPC
    assert sorted(os.listdir(saved.folder)) == ["checkpoint_00000002", "checkpoint_00000010"]
    assert_same(saved.restore(make_state())[0], make_state(10))


def test_other_errors_pass_and_leave_nothing(saved):
    with pytest.raises(TypeError):
        saved.save(11, make_state(11), metadata={"at": object()})
    assert sorted(os.listdir(saved.folder)) == ["checkpoint_00000002", "checkpoint_00000010"]


def flip_a_byte(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))


def test_every_damaged_file_is_named_with_the_checkpoint_to_go_on_from(saved, tmp_path):
    whole = tmp_path / "whole"
    shutil.copytree(saved.path(10), whole)
    files = [path.relative_to(whole) for path in whole.rglob("*") if path.is_file()]
    assert len(files) > 3
    for name in files:
        for damage in (flip_a_byte, lambda path: path.unlink(), lambda path: path.write_bytes(b"")):
            path = saved.path(10) / name
            if not path.stat().st_size:
                continue
            damage(path)
            with pytest.raises(
                CheckpointError, match=r"one before it is .*checkpoint_00000002: go on from there"
            ) as caught:
                saved.restore(make_state())
            assert str(path) in str(caught.value)
            shutil.copy(whole / name, path)
    assert_same(saved.restore(make_state())[0], make_state(10))
    flip_a_byte(next(path for path in saved.path(2).rglob("d/*") if path.is_file()))
    with pytest.raises(CheckpointError, match="there is no earlier one"):
        saved.restore(make_state(), step=2)


def test_a_foreign_state_names_the_leaves_that_differ(saved):
    with pytest.raises(
        CheckpointError, match=r"params/q/kernel: saved float32\[2, 3\], expected float32\[2, 4\]"
    ) as caught:
        saved.restore(make_state(size=4))
    assert "configuration" in str(caught.value)
    with pytest.raises(CheckpointError, match=r"other: saved nothing, expected float32\[\]"):
        saved.restore({"other": jnp.zeros(())})


def test_folders_without_checkpoints(saved, tmp_path):
    empty = Checkpointer(tmp_path / "none")
    assert empty.steps() == [] and empty.latest() is None
    with pytest.raises(FileNotFoundError, match=r"no checkpoint in .*there are none"):
        empty.restore(make_state())
    with pytest.raises(
        FileNotFoundError, match=r"no checkpoint of step 5 in .*there are steps \[2, 10\]"
    ):
        saved.restore(make_state(), step=5)
    with pytest.raises(ValueError, match="keep >= 1, got 0"):
        Checkpointer(tmp_path, keep=0)


def test_going_on_from_an_older_one_discards_the_newer(saved):
    saved.discard_after(2)
    assert saved.steps() == [2]
    assert os.listdir(saved.folder) == ["checkpoint_00000002"]


def test_a_manifest_of_another_step_is_not_taken(saved):
    manifest = json.loads((saved.path(10) / "checkpoint.json").read_text())
    (saved.path(10) / "checkpoint.json").write_text(json.dumps(manifest | {"step": 9}))
    with pytest.raises(CheckpointError, match="not the manifest of step 10"):
        saved.read_manifest(10)


@pytest.mark.parametrize("step", [100, 1000, 2000, 3000])
def test_checkpoints_of_another_run_are_neither_replaced_nor_rotated_away(tmp_path, step):
    other = Checkpointer(tmp_path, keep=3)
    for number in (1000, 2000, 3000):
        other.save(number, make_state(number))
    mine = Checkpointer(tmp_path, keep=3)
    with pytest.raises(CheckpointError, match=rf"step {step} is not saved in .*another run"):
        mine.save(step, make_state(1))
    assert mine.steps() == [1000, 2000, 3000]
    assert_same(mine.restore(make_state(0), step=1000)[0], make_state(1000))
    with pytest.raises(
        CheckpointError, match=r"there are checkpoints of steps \[1000, 2000, 3000\]"
    ):
        mine.save(100, make_state(1))  # having restored one of them is no reason
    mine.discard_after(1000)
    path = mine.save(1001, make_state(1))
    assert path.is_dir() and mine.steps() == [1000, 1001]
    mine.discard_after(-1)
    assert mine.save(100, make_state(1)).is_dir()


def test_what_was_restored_may_be_saved_again(tmp_path):
    Checkpointer(tmp_path).save(7, make_state(7))
    mine = Checkpointer(tmp_path)
    mine.restore(make_state(0))
    mine.save(7, make_state(8))
    assert_same(mine.restore(make_state(0))[0], make_state(8))


def test_replace_writes_before_it_deletes_all_others(saved, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
        with pytest.raises(OSError, match="could not be written"):
            saved.replace(1, make_state(1))
    assert saved.steps() == [2, 10]
    saved.replace(1, make_state(1))
    assert saved.steps() == [1]
    assert_same(saved.restore(make_state(0))[0], make_state(1))
