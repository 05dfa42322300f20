"""What a Reverb buffer saves, and what is refused when it is loaded."""

import json

import pytest

from jax_agents.replay import has_reverb
from jax_agents.replay.reverb import checkpoint as reverb_checkpoint

pytestmark = pytest.mark.skipif(not has_reverb(), reason="Reverb is not installed")


def test_a_restored_buffer_goes_on_and_saves_again(make_reverb, tmp_path, fill, starts):
    fill(make_reverb(checkpoint_dir=tmp_path / "private"), range(20)).save(tmp_path / "a")
    restored = make_reverb(checkpoint_dir=tmp_path / "private")
    restored.load(tmp_path / "a")
    assert restored.can_sample(19)
    fill(restored, range(100, 105))
    restored.save(tmp_path / "a")
    again = make_reverb()
    again.load(tmp_path / "a")
    assert len(again) == 25
    assert starts(again.as_dataset(64), 20) == {*range(19), *range(100, 104)}
    assert sorted(p.name.split("-data-")[0] for p in (tmp_path / "a").iterdir()) == [
        "reverb",
        "reverb.json",
    ]
    restored.close()
    again.close()
    # that of the first, which is still open
    assert len(list((tmp_path / "private").iterdir())) == 1


def test_a_save_that_fails_leaves_the_one_before(make_reverb, tmp_path, monkeypatch, fill):
    replay = fill(make_reverb(), range(5))
    replay.save(tmp_path)
    fill(replay, range(5, 10))
    with monkeypatch.context() as patch:
        patch.setattr(
            reverb_checkpoint.os,
            "replace",
            lambda *_: (_ for _ in ()).throw(OSError("No space left on device")),
        )
        with pytest.raises(OSError, match="No space left"):
            replay.save(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2  # nothing half done is left
    killed = tmp_path / f"{reverb_checkpoint.DATA}killed"  # as a process that was killed leaves it
    killed.mkdir()
    restored = make_reverb()
    restored.load(tmp_path)
    assert len(restored) == 5
    replay.save(tmp_path)
    assert not killed.exists()
    restored.load(tmp_path)
    assert len(restored) == 10


def test_settings_of_this_buffer_hold_where_a_saved_one_differs(
    make_reverb, tmp_path, fill, starts
):
    fill(make_reverb(capacity=50, priority_exponent=1.0), range(20)).save(tmp_path)
    replay = make_reverb(capacity=100, priority_exponent=0.0, min_size=5)
    with pytest.warns(
        UserWarning,
        match=r"max_items: saved 49, now 99; min_size: saved 1, now 5; "
        r"priority_exponent: saved 1.0",
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


def test_a_saved_buffer_of_another_kind_is_refused_and_nothing_is_lost(
    make_reverb, tmp_path, fill, starts
):
    fill(make_reverb(capacity=50), range(20)).save(tmp_path)
    for config, told in (
        ({"sequence_length": 3}, "sequence_length: saved 2, this buffer has 3"),
        ({"stride": 2}, "stride: saved 1, this buffer has 2"),
        ({"priority_exponent": 0.5}, "priority_exponent: saved None, this buffer has 0.5"),
        ({"capacity": 10}, "holds 19 items, this buffer at most 9; raise its capacity"),
    ):
        replay = fill(make_reverb(**config), range(100, 104))
        with pytest.raises(ValueError, match=told):
            replay.load(tmp_path)
        assert replay.can_sample()
        assert starts(replay.as_dataset(16), 1) <= set(range(100, 104))


def test_files_that_are_missing_or_damaged_are_noticed(make_reverb, tmp_path, fill, starts):
    replay = fill(make_reverb(), range(5))
    replay.save(tmp_path)
    manifest = json.loads((tmp_path / "reverb.json").read_text())
    (
        tmp_path / manifest["data"] / "DONE"
    ).unlink()  # which Reverb takes for an unfinished checkpoint, and starts empty
    with pytest.raises(ValueError, match=r"damaged.*4 items were saved, and 0 were read back"):
        replay.load(tmp_path)
    (tmp_path / "reverb.json").write_text("{}")
    with pytest.raises(ValueError, match=r"reverb\.json is damaged"):
        replay.load(tmp_path)
    assert starts(replay.as_dataset(16), 10) == set(range(4))
