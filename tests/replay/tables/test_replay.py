"""What the buffers on Reverb's tables share, with streams that only take down their rows."""

import time

import jax
import numpy as np
import pytest

from jax_agents.envs.specs import (
    ArraySpec,
    DiscreteSpec,
    EnvironmentSpecs,
    SpecError,
    trajectory_spec,
)
from jax_agents.envs.types import StepType
from jax_agents.replay.buffer import BufferSettings
from jax_agents.replay.tables.replay import TableReplay
from jax_agents.replay.tables.state import TableState
from jax_agents.replay.tables.stream import PRIORITY, TableStream

SPEC = trajectory_spec(EnvironmentSpecs(ArraySpec((2,)), DiscreteSpec(2)))


class Stream(TableStream):
    """Takes down what it is given."""

    def __init__(self):
        super().__init__()
        self.rows = []
        self.begun = 0

    def _begin(self):
        self.begun += 1

    def _append(self, columns):
        self.rows.append(columns)


class Recorded(TableReplay):
    """A buffer on servers that hold `items`, with a flush that brings `hidden` ones to light."""

    def __init__(self, *, seed=None, **changes):
        settings = {
            "capacity": 100,
            "sequence_length": 2,
            "stride": 1,
            "priority_exponent": 0.6,
            "min_size": 1,
            "timeout": 1.0,
        }
        super().__init__(SPEC, BufferSettings(**(settings | changes)), seed, "experience")
        self.streams = []
        self.calls = []
        self.items = [0]
        self.least = 1

    def _stream(self):
        self.streams.append(Stream())
        return self.streams[-1]

    def _flush(self, seconds):
        self.calls.append("flush")
        self.items[0] += sum(stream.unconfirmed for stream in self.streams)
        for stream in self.streams:
            stream.unconfirmed = 0

    def _reader(self, batch_size, prefetch, device):
        return Read(batch_size, prefetch, device)

    def _states(self):
        self._check_open()
        return [TableState(f"s{i}", n, 50, self.least, n, 7) for i, n in enumerate(self.items)]

    def _set_priorities(self, priorities):
        self.calls.append(priorities)

    def _empty_tables(self):
        self.items = [0]

    def _disconnect(self, flushed):
        self.calls.append(f"disconnect {flushed}")


class Read:
    """An iterator of the arguments that it was made with."""

    def __init__(self, *arguments):
        self.arguments = arguments
        self.released = False

    def __next__(self):
        return self.arguments

    def release(self, timeout=-1):
        self.released = True


def rows(reward, *shape):
    row = jax.tree.map(lambda s: np.zeros(shape + s.shape, s.dtype), SPEC)
    return row._replace(
        reward=np.full(shape, reward, np.float32),
        next_step_type=np.full(shape, StepType.MID, np.int32),
    )


def test_each_environment_has_a_stream_and_each_writer_one_more():
    replay = Recorded()
    replay.add(rows(0.5, 3)._replace(reward=np.float32([1, 2, 3])))
    write = replay.writer()
    write(rows(4.0))
    got = [
        [float(replay.layout.unpack(columns).reward) for columns in stream.rows]
        for stream in replay.streams
    ]
    assert got == [[1.0], [2.0], [3.0], [4.0]]
    with pytest.raises(ValueError, match=r"batch shape \(3,\), as first given, got \(2,\)"):
        replay.add(rows(0.0, 2))
    with pytest.raises(SpecError):
        write(rows(0.0)._replace(reward=np.zeros(2, np.float32)))
    assert sum(len(stream.rows) for stream in replay.streams) == 4
    assert "4 rows were added here" in str(replay.timeout_error("sampling"))


def test_a_row_that_continues_nothing_drops_the_open_window():
    replay = Recorded()
    replay.add(rows(0.0))  # FIRST -> MID
    replay.add(rows(0.0)._replace(step_type=StepType.MID))
    assert replay.streams[0].begun == 1
    replay.add(rows(0.0)._replace(step_type=StepType.LAST))
    assert replay.streams[0].begun == 2
    replay.clear()
    replay.add(rows(0.0)._replace(step_type=StepType.MID))
    assert replay.streams[0].begun == 3 and len(replay.streams[0].rows) == 4


def test_chunks_are_completed_only_where_that_gives_the_items_that_are_asked_for():
    replay = Recorded(min_size=3)
    replay.add(rows(0.0))
    assert not replay.can_sample() and replay.calls == []
    replay.add(rows(0.0))
    replay.add(rows(0.0))
    assert replay.can_sample() and replay.calls == ["flush"]
    assert replay.can_sample(3) and not replay.can_sample(4) and replay.calls == ["flush"]


def test_servers_with_fewer_items_than_they_need_count_for_nothing():
    replay = Recorded(stride=3, sequence_length=4)
    replay.items = [4, 0, 9]
    replay.least = 5
    assert replay.sizes().tolist() == [0, 0, 9]
    assert not replay.can_sample(10) and replay.can_sample(9)
    assert len(replay) == (3 * 3 + 4) + (8 * 3 + 4)  # the rows of 4 and of 9 windows
    assert replay.wait_for_items(time.monotonic()) == 9


def test_a_wait_ends_with_the_state_of_the_tables():
    replay = Recorded(min_size=3)
    replay.items = [1, 1]
    with pytest.raises(
        TimeoutError,
        match=r"sampling took longer than timeout=1 s\. Table 'experience' at s0, s1 has 2 items "
        r"of the 3 needed, at most 100; inserts: 2, samples: 14; 0 rows were added here",
    ):
        replay.wait_for_items(time.monotonic() - 1.0)


def test_new_rows_have_the_largest_priority_that_was_set():
    replay = Recorded()
    replay.add(rows(0.0))
    replay.update_priorities(np.uint64([2**63 + 1, 5]), np.float64([0.5, 3.0]))
    replay.update_priorities(np.uint64([7]), np.float64([2.0]))
    replay.update_priorities(np.zeros(0, np.uint64), np.zeros(0))
    replay.add(rows(0.0))
    assert replay.calls == [{2**63 + 1: 0.5, 5: 3.0}, {7: 2.0}]
    assert [float(columns[PRIORITY]) for columns in replay.streams[0].rows] == [1.0, 3.0]
    uniform = Recorded(priority_exponent=None)
    uniform.add(rows(0.0))
    assert PRIORITY not in uniform.streams[0].rows[0] and PRIORITY not in uniform.columns
    with pytest.raises(ValueError, match="uniform"):
        uniform.update_priorities(np.uint64([1]), np.ones(1))


def test_arguments():
    with pytest.raises(ValueError, match="cannot be seeded, got seed=1"):
        Recorded(seed=1)
    with pytest.raises(ValueError, match="stride"):
        Recorded(stride=0)
    assert next(Recorded().as_dataset(4, prefetch=3, device="d")) == (4, 3, "d")


def test_what_was_closed_or_came_through_a_fork_is_refused():
    replay = Recorded()
    replay.check_reader()
    replay._pid += 1
    with pytest.raises(RuntimeError, match="this Recorded was made in another process"):
        replay.add(rows(0.0))
    replay._pid -= 1
    reader = replay.as_dataset(1)
    replay.close()
    assert reader.released and replay.calls == ["flush", "disconnect True"]
    replay.close()
    assert replay.calls == ["flush", "disconnect True"]
    with pytest.raises(StopIteration):
        replay.check_reader()
    with pytest.raises(RuntimeError, match="closed"):
        replay.add(rows(0.0))
