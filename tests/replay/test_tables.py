"""What the buffers on Reverb's tables share, with streams that only take down their rows."""

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
from jax_agents.replay.tables import PRIORITY, TableReplay

SPEC = trajectory_spec(EnvironmentSpecs(ArraySpec((2,)), DiscreteSpec(2)))


class Stream:
    def __init__(self):
        self.rows = []

    def append(self, columns, step_type, next_step_type):
        self.rows.append((columns, step_type, next_step_type))


class Recorded(TableReplay):
    def __init__(self, **changes):
        arguments = {
            "capacity": 100,
            "sequence_length": 2,
            "stride": 1,
            "priority_exponent": 0.6,
            "min_size": 1,
            "timeout": 1.0,
        }
        super().__init__(SPEC, **(arguments | {"seed": None, "table": "experience"} | changes))
        self.streams, self.priorities = [], []

    def _stream(self):
        self.streams.append(Stream())
        return self.streams[-1]

    def _reader(self, batch_size, prefetch, device):
        yield batch_size, prefetch, device

    def _set_priorities(self, priorities):
        self.priorities.append(priorities)


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
        [float(replay.layout.unpack(columns).reward) for columns, _, _ in stream.rows]
        for stream in replay.streams
    ]
    assert got == [[1.0], [2.0], [3.0], [4.0]]
    assert replay.streams[0].rows[0][1:] == (StepType.FIRST, StepType.MID)
    with pytest.raises(ValueError, match=r"batch shape \(3,\), as first given, got \(2,\)"):
        replay.add(rows(0.0, 2))
    with pytest.raises(SpecError):
        write(rows(0.0)._replace(reward=np.zeros(2, np.float32)))
    assert (
        sum(len(stream.rows) for stream in replay.streams) == 4
        and "4 rows were added here" in replay._rows_told()
    )


def test_new_rows_have_the_largest_priority_that_was_set():
    replay = Recorded()
    replay.add(rows(0.0))
    replay.update_priorities(np.uint64([2**63 + 1, 5]), np.float64([0.5, 3.0]))
    replay.update_priorities(np.uint64([7]), np.float64([2.0]))
    replay.update_priorities(np.zeros(0, np.uint64), np.zeros(0))
    replay.add(rows(0.0))
    assert replay.priorities == [{2**63 + 1: 0.5, 5: 3.0}, {7: 2.0}]
    assert [float(columns[PRIORITY]) for columns, _, _ in replay.streams[0].rows] == [1.0, 3.0]
    uniform = Recorded(priority_exponent=None)
    uniform.add(rows(0.0))
    assert PRIORITY not in uniform.streams[0].rows[0][0] and PRIORITY not in uniform.columns
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
    replay._closed.set()
    with pytest.raises(StopIteration):
        replay.check_reader()
    with pytest.raises(RuntimeError, match="closed"):
        replay.add(rows(0.0))
