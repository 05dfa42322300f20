"""The ring by itself: slots, links, keys and priorities worked by hand."""

import numpy as np
import pytest

from jax_agents.replay.host.ring import NO_NEXT, Ring
from jax_agents.replay.host.streams import RingStream
from jax_agents.replay.packing import RowLayout


@pytest.fixture
def make_ring(spec):
    return lambda capacity=4, length=2, stride=1, exponent=None: Ring(
        RowLayout(spec), capacity, length, stride, exponent
    )


@pytest.fixture
def write(make_row):
    def write(ring, stream, number):
        row = make_row(number)
        ring.write(stream, ring.layout.leaves(row), int(row.step_type), int(row.next_step_type))

    return write


def test_links_point_to_the_next_row_and_are_positive_where_a_window_starts(make_ring, write):
    ring = make_ring()
    stream = RingStream(None, 2)
    for number in range(3):
        write(ring, stream, number)
    assert ring.links.tolist() == [1, 2, NO_NEXT, 0] and (len(ring), ring.items) == (3, 2)
    for number in (3, 4):
        write(ring, stream, number)
    assert ring.links.tolist() == [NO_NEXT, 2, 3, 0] and ring.oldest == 1
    assert (ring.total, len(ring), ring.items) == (5, 4, 3)


def test_two_streams_that_take_turns_have_their_own_windows(make_ring, write):
    ring = make_ring(capacity=8)
    first, second = RingStream(None, 2), RingStream(None, 2)
    for number in range(6):
        write(ring, first if number % 2 else second, number)
    columns, info = ring.sample(np.random.default_rng(0), 64)
    actions = ring.layout.unpack(columns).action
    assert {tuple(window) for window in actions.tolist()} == {(0, 2), (1, 3), (2, 4), (3, 5)}
    assert not ring.regular and set(info.key.tolist()) == {0, 1, 2, 3}


def test_streams_in_step_lie_beside_each_other(make_ring, make_row):
    ring = make_ring(capacity=6)
    stream = RingStream(2, 2)
    types = np.int32([1, 1])
    for t in range(3):
        rows = [make_row(10 * t), make_row(10 * t + 1)]
        leaves = [np.stack(x) for x in zip(*map(ring.layout.leaves, rows), strict=True)]
        ring.write_batch(stream, leaves, types, types)
    assert ring.links.tolist() == [2, 3, 4, 5, NO_NEXT, NO_NEXT] and ring.regular
    columns, _ = ring.sample(np.random.default_rng(0), 32)
    pairs = ring.layout.unpack(columns).action.tolist()
    assert {tuple(pair) for pair in pairs} == {(0, 10), (1, 11), (10, 20), (11, 21)}


def test_keys_hold_generation_and_slot_and_old_ones_are_ignored(make_ring, write):
    ring = make_ring(exponent=1.0)
    stream = RingStream(None, 2)
    for number in range(6):
        write(ring, stream, number)
    _, info = ring.sample(np.random.default_rng(0), 32)
    assert set(info.key.tolist()) == {2, 3, 1 << 32}  # rows 2, 3 and 4
    ring.update_priorities(np.uint64([0, 2, 1 << 32, 1 << 40]), np.float64([9.0, 3.0, 0.0, 9.0]))
    assert ring.max_priority == 3.0 and ring.tree.total == 3.0 + 1.0
    _, info = ring.sample(np.random.default_rng(0), 64)
    assert set(zip(info.key.tolist(), info.probability.tolist(), strict=True)) == {
        (2, 0.75),
        (3, 0.25),
    }
    write(ring, stream, 6)  # row 6 takes the place of row 2
    assert ring.tree.total == 1.0 + 3.0  # and the window of row 5 has the highest priority


def test_arrays_restore_another_ring(make_ring, write):
    ring = make_ring(exponent=0.5)
    stream = RingStream(None, 2)
    for number in range(6):
        write(ring, stream, number)
    ring.update_priorities(np.uint64([3]), np.float64([16.0]))
    other = make_ring(exponent=0.5)
    other.restore(ring.arrays(), ring.base, ring.total, ring.max_priority)
    assert (other.items, other.total, other.max_priority) == (3, 6, 16.0)
    assert other.tree.total == ring.tree.total == 1.0 + 4.0 + 1.0
    columns, _ = other.sample(np.random.default_rng(0), 64)
    windows = {tuple(window) for window in other.layout.unpack(columns).action.tolist()}
    assert windows == {(2, 3), (3, 4), (4, 5)}
    arrays = {name: array for name, array in ring.arrays().items() if name != "priorities"}
    other.restore(arrays, ring.base, ring.total, 1.0)
    assert other.tree.total == 3.0  # priorities that are missing are 1


def test_cleared_keys_stay_stale(make_ring, write):
    ring = make_ring(exponent=1.0)
    for number in range(2):
        write(ring, RingStream(None, 1), number)
    ring.clear()
    assert (len(ring), ring.total, ring.can_draw()) == (0, 4, False)
