"""How batches are read ahead from a Reverb server."""

import jax
import pytest

from jax_agents.replay import has_reverb
from jax_agents.replay.reverb import dataset as reverb_dataset

pytestmark = pytest.mark.skipif(not has_reverb(), reason="Reverb is not installed")


def test_handovers_of_many_batches_are_cut_into_different_ones(make_reverb, fill, starts):
    replay = fill(make_reverb(capacity=5000), range(4500))
    dataset = replay.as_dataset(64)
    batches = [next(dataset) for _ in range(20)]
    assert dataset._batches_per_handover == 8
    assert all(leaf.shape[:1] == (64,) for batch in batches for leaf in jax.tree.leaves(batch))
    assert len({tuple(batch.info.key.tolist()) for batch in batches}) == 20
    starts(batches)


def test_the_look_ahead_grows_with_the_table(make_reverb, monkeypatch, fill, starts):
    monkeypatch.setattr(reverb_dataset, "PROBATION", 4)
    replay = fill(make_reverb(capacity=5000), range(100))
    dataset = replay.as_dataset(64)
    next(dataset)
    assert dataset._batches_per_handover == 1
    fill(replay, range(100, 2500))
    starts(dataset, 30)
    assert dataset._batches_per_handover == 8


def test_clear_also_drops_what_was_read_ahead(make_reverb, fill, starts):
    replay = fill(make_reverb(), range(2000))
    dataset = replay.as_dataset(64)
    next(dataset)
    replay.clear()
    fill(replay, range(5000, 5005))
    assert starts(dataset, 20) == set(range(5000, 5004))
