"""Rows to chunks and items, without a server."""

import numpy as np
import pytest

from jax_agents.replay.remote import samples
from jax_agents.replay.remote.writer import Writer, new_key


class Taken:
    """A stream of items that only takes them down."""

    def __init__(self):
        self.items = []
        self.held = set()

    def wait(self, leave=None, timeout=None):
        pass

    def hold(self, key):
        self.held.add(key)

    def release(self, key):
        self.held.discard(key)

    def insert(self, items):
        self.items += items


@pytest.fixture
def taken():
    return Taken()


@pytest.fixture
def read(sample_answer):
    """Reads the columns of an item as whoever samples it does."""

    def read(item):
        (decoded,) = samples.SampleDecoder().feed(sample_answer(item.chunks, item.data))
        return [array.tolist() for array in decoded.arrays()]

    return read


def add(writer, *numbers):
    for number in numbers:
        writer.append([np.float32(number), np.int32([number, -number])])


def test_items_are_sent_when_the_chunk_of_their_last_row_is_full(taken, read):
    writer = Writer(taken, max_rows=3, chunk_length=2)
    add(writer, 0, 1)
    writer.create_item("t", 1.0, 2)
    assert [len(item.chunks) for item in taken.items] == [1]
    add(writer, 2)
    writer.create_item("t", 1.0, 3)
    assert len(taken.items) == 1
    add(writer, 3)
    writer.create_item("t", 1.0, [(0, slice(-3, -1)), (1, -1)])
    assert read(taken.items[0]) == [[0, 1], [[0, 0], [1, -1]]]
    assert read(taken.items[1]) == [[0, 1, 2], [[0, 0], [1, -1], [2, -2]]]
    assert read(taken.items[2]) == [[1, 2], [3, -3]]


def test_send_cuts_a_chunk_short_and_old_chunks_are_let_go(taken, read):
    writer = Writer(taken, max_rows=2, chunk_length=16)
    for number in range(4):
        add(writer, number)
        writer.create_item("t", 1.0, min(2, number + 1))
        writer.send()
    assert [read(item)[0] for item in taken.items] == [[0], [0, 1], [1, 2], [2, 3]]
    assert len(taken.held) <= 2
    writer.close()
    assert not taken.held


def test_items_cannot_reach_into_the_episode_before(taken):
    writer = Writer(taken, max_rows=4, chunk_length=1)
    add(writer, 0, 1)
    writer.end_episode()
    add(writer, 2)
    with pytest.raises(ValueError, match="the episode has 1 rows"):
        writer.create_item("t", 1.0, 2)


def test_what_is_refused(taken):
    with pytest.raises(ValueError, match="at least 1, got 0 and 1"):
        Writer(taken, max_rows=1, chunk_length=0)
    writer = Writer(taken, max_rows=2)
    add(writer, 0)
    with pytest.raises(ValueError, match=r"have columns \['float32\[\]', 'int32\[2\]'\]"):
        writer.append([np.float64(0), np.zeros(2, np.int32)])
    with pytest.raises(ValueError, match="finite"):
        writer.create_item("t", float("nan"), 1)
    with pytest.raises(ValueError, match="columns 0 to 1, got 2"):
        writer.create_item("t", 1.0, [(2, -1)])


def test_keys_do_not_depend_on_the_programs_seed():
    import random

    random.seed(0)
    first = new_key()
    random.seed(0)
    assert first != new_key() and 0 <= first < 2**64
