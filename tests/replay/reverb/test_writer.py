"""How rows are handed to a Reverb server."""

import types

import jax
import jax.numpy as jnp
import pytest

from jax_agents.replay import has_reverb
from jax_agents.replay.reverb import writer as reverb_writer

pytestmark = pytest.mark.skipif(not has_reverb(), reason="Reverb is not installed")


def test_windows_are_slices_of_the_last_rows_and_no_other():
    seen = []
    client = types.SimpleNamespace(structured_writer=seen.extend)
    columns = dict.fromkeys(("packed", "leaf3"))
    reverb_writer.make_writer(client, "t", columns, sequence_length=3, stride=2, small=True)
    assert [
        [(node.start, node.HasField("stop"), node.HasField("step")) for node in c.flat]
        for c in seen
    ] == [
        [(-3, False, False)] * 2,
        [(-reverb_writer.LONGEST_CHUNK, False, False)] * 2,
    ]


def test_rows_of_jax_arrays(make_reverb, make_row, starts):
    replay = make_reverb()
    for number in range(3):
        replay.add(jax.tree.map(jnp.asarray, make_row(number)))
    assert starts(replay.as_dataset(16), 3) == {0, 1}


def test_new_rows_become_visible_without_a_flush(make_reverb, make_row, fill, starts):
    replay = fill(make_reverb(), range(300))
    dataset = replay.as_dataset(64, prefetch=0)
    next(dataset)
    for number in range(300, 600):
        replay.add(make_row(number))
        next(dataset)
    assert max(starts(dataset, 60)) >= 600 - 2 - reverb_writer.LONGEST_CHUNK
    assert (
        replay.client.server_info()["experience"].current_size > 599 - reverb_writer.LONGEST_CHUNK
    )
