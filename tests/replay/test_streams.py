"""The rule by which a row continues the one before."""

import numpy as np
import pytest

from jax_agents.envs.types import StepType
from jax_agents.replay.streams import NO_STEP_TYPE, Boundaries, break_row, following, following_one

FIRST, MID, LAST = (int(x) for x in (StepType.FIRST, StepType.MID, StepType.LAST))


@pytest.mark.parametrize(
    ("step_type", "next_step_type", "expected"),
    [
        (FIRST, MID, MID),
        (MID, LAST, LAST),
        (LAST, FIRST, FIRST),
        (MID, FIRST, NO_STEP_TYPE),  # a bootstrap row
        (FIRST, FIRST, NO_STEP_TYPE),
    ],
)
def test_the_step_type_that_follows(step_type, next_step_type, expected):
    assert following_one(step_type, next_step_type) == expected
    assert following(np.int32(step_type), np.int32(next_step_type)) == expected


def test_streams_in_step_are_judged_one_by_one():
    got = following(np.int32([MID, LAST, MID]), np.int32([LAST, FIRST, FIRST]))
    assert got.tolist() == [LAST, FIRST, NO_STEP_TYPE] and got.dtype == np.int32


@pytest.mark.parametrize("before", [(MID, MID), (MID, FIRST), (LAST, FIRST), (MID, LAST)])
def test_a_break_continues_nothing_and_is_continued_by_nothing(make_row, before):
    row = break_row(make_row(3))
    assert row.reward == 3 and row.step_type.dtype == row.next_step_type.dtype == np.int32
    assert following_one(*before) != row.step_type
    after = following_one(int(row.step_type), int(row.next_step_type))
    assert after not in (FIRST, MID, LAST, int(row.step_type))


@pytest.mark.parametrize("batch", [False, True])
def test_boundary_rows_must_be_there(batch):
    boundaries = Boundaries()

    def check(step_type, next_step_type):
        if batch:
            others = np.int32([MID, step_type]), np.int32([MID, next_step_type])
            return boundaries.check_batch(*others)
        return boundaries.check(step_type, next_step_type)

    check(MID, LAST)
    for _ in range(2):
        with pytest.raises(ValueError, match="boundary row between them is missing"):
            check(FIRST, MID)
    check(MID, MID)  # a dropped row is none of its business
    check(FIRST, LAST)
    boundaries.restart()
    check(FIRST, LAST)
    check(LAST, FIRST)
    check(FIRST, LAST)
    check(FIRST, LAST)  # once
    with pytest.raises(ValueError, match="boundary row"):
        check(FIRST, LAST)
    check(LAST, FIRST)
    check(FIRST, LAST)
    check(FIRST, LAST)
