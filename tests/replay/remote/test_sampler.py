"""Items that are requested ahead, over a connection that is played."""

import queue

import pytest

from jax_agents.replay.remote.protobuf import fields
from jax_agents.replay.remote.sampler import Sampler


class Played:
    """A connection that answers each request for items, up to `limit` of them."""

    address = "here:1"
    timeout = 5.0

    def __init__(self, answer, limit):
        self.answer, self.limit = answer, limit
        self.requested = []
        self.error = None

    def stream(self, method, requests):
        assert method == "SampleStream"
        return Call(self, requests)

    def code(self, error):
        return ""

    def is_transient(self, error):
        return isinstance(error, ConnectionError)

    def explain(self, error):
        return error


class Call:
    def __init__(self, played, requests):
        self.played, self.requests = played, requests
        self.cancelled = queue.SimpleQueue()

    def cancel(self):
        self.cancelled.put(True)

    def __iter__(self):
        if self.played.error is not None:
            raise self.played.error
        for request in self.requests:
            (number,) = [value for tag, value, _ in fields(request) if tag == 16]
            self.played.requested.append(number)
            for _ in range(min(number, self.played.limit)):
                self.played.limit -= 1
                yield self.played.answer


@pytest.fixture
def play(two_chunks):
    samplers = []

    def play(limit, error=None):
        played = Played(two_chunks()[1], limit)
        played.error = error
        samplers.append(Sampler(played, "t"))
        return played, samplers[-1]

    yield play
    for sampler in samplers:
        sampler.close()


def test_as_many_as_are_wanted_ahead_are_requested(play):
    played, sampler = play(100)
    items = sampler.take(2, ahead=3)
    assert len(items) == 2 and items[0].info.priority == 1.5
    sampler.take(5, ahead=3)
    assert sum(played.requested) == 2 + 3 + 5


def test_items_that_came_are_kept_for_the_next_time(play):
    _, sampler = play(3)
    with pytest.raises(TimeoutError, match="3 of 4 items came from table 't' at here:1"):
        sampler.take(4, timeout=0.2)
    assert len(sampler.take(3)) == 3


def test_a_refusal_is_raised_at_once_and_a_lost_connection_in_the_end(play):
    with pytest.raises(ValueError, match="no table"):
        play(1, ValueError("no table"))[1].take(1)
    with pytest.raises(ConnectionError):
        play(1, ConnectionError("gone"))[1].take(1, timeout=0.3)


def test_close_ends_it(play):
    _, sampler = play(10)
    sampler.take(1)
    sampler.close()
    with pytest.raises(StopIteration):
        sampler.take(1)
