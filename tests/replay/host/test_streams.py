"""Streams in the ring, and how saved ones go on."""

import numpy as np
import pytest

from jax_agents.replay.host.streams import RingStream, StreamList
from jax_agents.replay.streams import NO_STEP_TYPE


@pytest.mark.parametrize("num", [None, 2])
def test_a_stream_goes_on_from_its_state(num):
    stream = RingStream(num, 3)
    stream.numbers.extend([4, 6, 8, 10])  # the window holds three
    stream.count = 4 if num is None else np.array([4, 1])
    stream.last = 1 if num is None else np.array([1, 2])
    again = RingStream(num, 3)
    again.set_state(stream.state())
    assert list(again.numbers) == [6, 8, 10] and again.state() == stream.state()
    assert isinstance(again.count, int if num is None else np.ndarray)
    again.restart()
    assert not again.numbers and np.all(again.count == 0) and np.all(again.last == NO_STEP_TYPE)


def test_the_state_of_another_number_of_environments_is_left_alone():
    saved = RingStream(3, 2)
    saved.numbers.append(7)
    stream = RingStream(2, 2)
    stream.set_state(saved.state())
    assert not stream.numbers


def test_saved_states_go_to_streams_in_their_order():
    saved = StreamList()
    for number in (1, 2, 3):
        saved.open(RingStream(None, 2))
        saved.streams[-1].numbers.append(number)
    streams = StreamList()
    streams.open(RingStream(None, 2))
    streams.set_state(saved.state())
    assert list(streams.streams[0].numbers) == [1]
    for number in (2, 3):
        streams.open(RingStream(None, 2))
        assert list(streams.streams[-1].numbers) == [number]
    streams.open(RingStream(None, 2))
    assert not streams.streams[-1].numbers
    streams.restart()
    assert all(not stream.numbers for stream in streams.streams)
    streams.set_state([])
    streams.open(RingStream(None, 2))
    assert not streams.streams[-1].numbers
