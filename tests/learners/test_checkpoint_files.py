"""The files of a checkpoint: arrays as they were, digests that find damage, errors of the disk."""

import errno
import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_agents.learners import checkpoint_files as files

STATE = {"w": jnp.arange(3.0), "none": jnp.zeros((0, 2), jnp.int32), "key": jax.random.key(7)}


def test_arrays_empty_ones_and_keys_come_back(tmp_path):
    files.write_state(tmp_path / "state", STATE)
    template = {"w": jnp.ones(3), "none": STATE["none"], "key": jax.random.key(0)}
    got = files.read_state(tmp_path / "state", template)
    np.testing.assert_array_equal(got["w"], [0, 1, 2])
    assert got["none"].shape == (0, 2) and files.is_key(got["key"])
    np.testing.assert_array_equal(*map(jax.random.key_data, (got["key"], STATE["key"])))


def test_leaves_are_described():
    described = files.describe_leaves({"a": {"b": np.zeros((3, 4), np.float32)}, "c": 1})
    assert list(described.values()) == ["float32[3, 4]", "int32[]"]
    assert files.is_key(jax.random.key(0))
    assert not files.is_key(jnp.zeros(2)) and not files.is_key(3)


def test_digests_find_what_is_missing_longer_or_other(tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "a").write_bytes(b"123")
    (tmp_path / "rows").write_bytes(b"12")
    found = files.digests(tmp_path, hashed="state")
    assert found == {"rows": "2", "state/a": f"3 {hashlib.sha256(b'123').hexdigest()}"}
    files.check_digests(tmp_path, found, hashed="state")
    (tmp_path / "rows").write_bytes(b"99")  # of the same size: not looked at here
    files.check_digests(tmp_path, found, hashed="state")
    (tmp_path / "state" / "a").write_bytes(b"124")
    with pytest.raises(ValueError, match="state/a is damaged"):
        files.check_digests(tmp_path, found, hashed="state")
    (tmp_path / "rows").unlink()
    with pytest.raises(ValueError, match="rows is missing"):
        files.check_digests(tmp_path, found, hashed="state")


def test_files_and_folders_are_synced_deepest_parts_too(tmp_path, monkeypatch):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_text("x")
    synced = []
    monkeypatch.setattr(files.os, "fsync", synced.append)
    files.sync(tmp_path)
    assert len(synced) == 1 + 3  # the file and three folders


def test_errors_of_the_disk_are_told_from_others():
    assert files.is_disk_error(OSError(errno.EIO, "broken"))
    assert files.is_disk_error(ValueError("RESOURCE_EXHAUSTED: No space left on device [x.cc]"))
    assert not files.is_disk_error(ValueError("another shape"))
