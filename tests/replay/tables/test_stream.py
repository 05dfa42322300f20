"""Rows that continue a stream, and rows that begin one."""

import numpy as np
import pytest

from jax_agents.envs.types import StepType
from jax_agents.replay.tables.stream import TableStream


class Recorded(TableStream):
    def __init__(self):
        super().__init__()
        self.calls = []

    def _begin(self):
        self.calls.append("begin")

    def _append(self, columns):
        if columns is None:
            raise OSError("the server is gone")
        self.calls.append(columns["n"])


def add(stream, number, step_type, next_step_type):
    stream.append({"n": number}, int(step_type), int(next_step_type))


def test_windows_begin_where_a_row_does_not_continue_the_last():
    stream = Recorded()
    add(stream, 0, StepType.FIRST, StepType.LAST)
    add(stream, 1, StepType.LAST, StepType.FIRST)
    add(stream, 2, StepType.FIRST, StepType.MID)
    add(stream, 3, StepType.FIRST, StepType.MID)
    assert stream.calls == ["begin", 0, 1, 2, "begin", 3] and stream.unconfirmed == 4
    stream.restart()
    add(stream, 4, StepType.MID, StepType.MID)
    assert stream.calls[-2:] == ["begin", 4] and stream.unconfirmed == 1


def test_a_row_that_could_not_be_written_does_not_count():
    stream = Recorded()
    add(stream, 0, StepType.FIRST, StepType.MID)
    with pytest.raises(OSError):
        stream.append(None, int(StepType.MID), int(StepType.LAST))
    add(stream, 1, StepType.MID, StepType.LAST)
    assert stream.calls == ["begin", 0, 1] and np.asarray(stream.unconfirmed) == 2
