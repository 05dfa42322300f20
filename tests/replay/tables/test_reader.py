"""Iterators over tables: the end, and what was read ahead."""

import types

import pytest

from jax_agents.replay.prefetch import DeviceCopies
from jax_agents.replay.tables.reader import TableReader


class Reader(TableReader):
    """Draws from a list, in which exceptions are raised."""

    def __init__(self, replay, steps):
        super().__init__(replay, 1, DeviceCopies(None, 0))
        self.steps = list(steps)
        self.forgotten = 0

    def _draw(self):
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    def _forget(self):
        self.forgotten += 1

    def release(self, timeout=-1):
        pass


@pytest.fixture
def replay():
    replay = types.SimpleNamespace(generation=0, closed=False)

    def check_reader():
        if replay.closed:
            raise StopIteration

    replay.check_reader = check_reader
    return replay


def test_a_new_generation_forgets_what_was_read_ahead(replay):
    reader = Reader(replay, "abc")
    assert (next(reader), next(reader), reader.forgotten) == ("a", "b", 1)
    replay.generation += 1
    assert (next(reader), reader.forgotten) == ("c", 2)


def test_a_source_that_was_closed_is_opened_again_unless_the_buffer_is_closed(replay):
    assert next(Reader(replay, [StopIteration(), StopIteration(), "a"])) == "a"
    replay.closed = True
    assert list(Reader(replay, [StopIteration(), "a"])) == []


def test_an_error_of_a_closed_buffer_is_its_end(replay):
    with pytest.raises(TimeoutError, match="slow"):
        next(Reader(replay, [TimeoutError("slow")]))
    replay.closed = True
    assert list(Reader(replay, [TimeoutError("slow")])) == []
