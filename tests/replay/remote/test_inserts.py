"""Items on their way, over a connection that is played."""

import queue
import types

import pytest

from jax_agents.replay.remote.inserts import EncodedItem, InsertStream
from jax_agents.replay.remote.protobuf import fields, integer
from jax_agents.replay.remote.wire import Chunk


class Played:
    """A connection whose streams take down requests and give the answers that a test puts in."""

    address = "here:1"
    timeout = 5.0

    def __init__(self):
        self.streams = []

    def stream(self, method, requests):
        assert method == "InsertStream"
        answers = queue.SimpleQueue()
        stream = types.SimpleNamespace(
            requests=requests, answers=answers, cancel=lambda: answers.put(None)
        )
        self.streams.append(stream)

        class Call:
            cancel = staticmethod(stream.cancel)

            def __iter__(self):
                for answer in iter(answers.get, None):
                    if isinstance(answer, Exception):
                        raise answer
                    yield answer

        return Call()

    def is_transient(self, error):
        return isinstance(error, ConnectionError)

    def explain(self, error):
        return error


@pytest.fixture
def played():
    return Played()


@pytest.fixture
def inserts(played):
    stream = InsertStream(played, max_in_flight=2)
    yield stream
    stream.close()


def item(key, *chunks):
    return EncodedItem(key, f"item{key}".encode(), tuple(chunks))


def sent(stream):
    """The chunks, the items and the kept keys of the next request."""
    data = next(iter(stream.requests))
    parts = {10: [], 18: [], 26: []}
    for tag, start, end in fields(data):
        parts[tag].append(data[start:end])
    return parts[10], parts[18], list(parts[26][0])


def test_a_chunk_is_sent_once_while_later_items_may_refer_to_it(played, inserts):
    chunk = Chunk(7, 1, b"chunk")
    inserts.hold(7)
    inserts.insert([item(1, chunk)])
    inserts.insert([item(2, chunk)])
    inserts.release(7)
    inserts.insert([item(3, chunk)])
    (stream,) = played.streams
    assert sent(stream) == ([b"chunk"], [b"item1"], [7])
    assert sent(stream) == ([], [b"item2"], [7])
    assert sent(stream) == ([], [b"item3"], [])


def test_it_waits_until_the_server_has_confirmed_enough(played, inserts):
    inserts.insert([item(1), item(2), item(3)])
    with pytest.raises(TimeoutError, match="3 items are not confirmed by here:1"):
        inserts.wait(timeout=0.05)
    played.streams[0].answers.put(integer(1, 2))
    inserts.wait()
    assert inserts.unconfirmed == 2


def test_what_was_not_confirmed_is_sent_once_more_on_a_new_stream(played, inserts):
    chunk = Chunk(7, 1, b"chunk")
    inserts.insert([item(1, chunk)])
    inserts.insert([item(2, chunk)])
    played.streams[0].answers.put(integer(1, 1))
    played.streams[0].answers.put(ConnectionError("gone"))
    with pytest.raises(ConnectionError):
        inserts.wait(0, timeout=0.5)
    assert sent(played.streams[-1]) == ([b"chunk"], [b"item2"], [])
    played.streams[-1].answers.put(integer(1, 2))
    inserts.wait(0)


def test_a_refusal_is_raised_at_once(played, inserts):
    inserts.insert([item(1)])
    played.streams[0].answers.put(RuntimeError("refused"))
    with pytest.raises(RuntimeError, match="refused"):
        inserts.wait(0)


def test_a_closed_stream_takes_nothing(played, inserts):
    inserts.close()
    for use in (lambda: inserts.insert([item(1)]), inserts.wait):
        with pytest.raises(RuntimeError, match="closed"):
            use()
    with pytest.raises(ValueError, match="max_in_flight must be at least 1, got 0"):
        InsertStream(played, max_in_flight=0)
