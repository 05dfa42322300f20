"""Saving, loading and clearing."""

import jax
import numpy as np
import pytest

# A remote buffer's files are its server's.
saves = pytest.mark.parametrize("make", ["host", "reverb"], indirect=True)


@saves
def test_save_and_load(make, tmp_path, episode_rows, draw, windows, expected):
    config = {"sequence_length": 3, "capacity": 30, "priority_exponent": 1.0}
    replay = make(**config)
    for row in episode_rows(50, episode_length=7):
        replay.add(row)
    info = draw(replay, 28, batches=40)
    keys = np.concatenate([s.info.key for s in info])
    first = np.concatenate([s.experience.action[:, 0] for s in info])
    chosen = first == 33
    replay.update_priorities(keys[chosen], np.full(chosen.sum(), 6.0))

    folder = tmp_path / "checkpoint"
    folder.mkdir()
    # What sorts before a date, and what sorts after: Reverb's own checkpointer deletes both.
    (folder / "0_params.msgpack").write_bytes(b"mine")
    (folder / "zzz").mkdir()
    (folder / "zzz" / "file").write_text("mine too")
    for _ in range(2):
        replay.save(folder)
        assert (folder / "0_params.msgpack").read_bytes() == b"mine"
        assert (folder / "zzz" / "file").read_text() == "mine too"

    restored = make(**config)
    restored.load(folder)
    assert len(restored) == 30
    assert restored.can_sample(28)
    samples = draw(restored, 28, batches=60)
    assert windows(samples) == expected(range(20, 48), 3)
    for s in samples:
        np.testing.assert_allclose(
            s.info.priority, np.where(s.experience.action[:, 0] == 33, 6.0, 1.0)
        )
        np.testing.assert_allclose(s.info.probability, s.info.priority / 33, rtol=1e-6)
    # goes on: new rows, and old ones leave
    for row in episode_rows(10, episode_length=7, first=100):
        restored.add(row)
    assert windows(draw(restored, restored_items(restored), batches=60)) >= expected(
        range(100, 108), 3
    )
    assert (folder / "0_params.msgpack").read_bytes() == b"mine"


def restored_items(replay):
    """How many items there are."""
    items = 0
    while replay.can_sample(items + 1):
        items += 1
    return items


@saves
def test_load_replaces_what_was_there(make, tmp_path, make_row, draw, windows, expected):
    replay = make()
    for t in range(5):
        replay.add(make_row(t))
    replay.save(tmp_path / "saved")
    for t in range(5, 9):
        replay.add(make_row(t))
    samples = replay.as_dataset(sample_batch_size=8, prefetch=0)
    next(samples)
    replay.load(tmp_path / "saved")
    assert len(replay) == 5
    assert windows(draw(replay, 4)) == expected(range(4), 2)
    assert windows(next(samples) for _ in range(10)) <= expected(range(4), 2)


@saves
def test_load_errors_are_clear_and_lose_nothing(make, tmp_path, make_row, draw, windows, expected):
    replay = make()
    for t in range(5):
        replay.add(make_row(t))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        replay.load(tmp_path / "nowhere")
    replay.save(tmp_path / "saved")
    for path in [p for p in (tmp_path / "saved").rglob("*") if p.is_file()]:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match="saved"):
        replay.load(tmp_path / "saved")
    assert windows(draw(replay, 4)) == expected(range(4), 2)


def test_nothing_that_was_copied_ahead_is_left_after_a_clear(make, make_row, windows, expected):
    replay = make()
    for t in range(5):
        replay.add(make_row(t))
    dataset = replay.as_dataset(4, prefetch=2, device=jax.devices()[0])
    next(dataset)
    replay.clear()
    for t in (10, 11):
        replay.add(make_row(t))
    samples = [jax.device_get(next(dataset)) for _ in range(3)]
    assert windows(samples) == expected([10], 2)


def test_clear(make, make_row, draw, windows, expected):
    replay = make(priority_exponent=1.0)
    for t in range(5):
        replay.add(make_row(t))
    keys = draw(replay, 4, batches=1)[0].info.key
    replay.clear()
    assert len(replay) == 0
    assert not replay.can_sample()
    replay.add(make_row(5))
    assert not replay.can_sample()  # the row before it is gone
    replay.add(make_row(6))
    replay.update_priorities(keys, np.full(len(keys), 9.0))
    samples = draw(replay, 1)
    assert windows(samples) == expected([5], 2)
    assert {float(p) for s in samples for p in s.info.priority} == {1.0}
