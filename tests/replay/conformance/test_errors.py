"""What is refused, by name, before anything is added."""

import numpy as np
import pytest

from jax_agents.envs.specs import SpecError
from jax_agents.envs.types import StepType


def test_a_wrong_row_is_refused_by_name_and_nothing_is_added(
    make, make_row, draw, windows, expected
):
    replay = make()
    row = make_row(0)
    with pytest.raises(SpecError, match=r"observation/id: expected float32\[2\], got float32\[3\]"):
        replay.add(row._replace(observation={**row.observation, "id": np.zeros(3, np.float32)}))
    with pytest.raises(SpecError, match=r"action: expected int32.*got int64"):
        replay.add(row._replace(action=np.int64(1)))
    with pytest.raises(SpecError, match=r"observation/camera: missing"):
        replay.add(row._replace(observation={"id": row.observation["id"]}))
    assert len(replay) == 0
    for t in range(3):
        replay.add(make_row(t))
    with pytest.raises(SpecError, match="reward"):
        replay.add(make_row(3)._replace(reward=np.zeros(2, np.float32)))
    replay.add(make_row(3))
    assert windows(draw(replay, 3)) == expected(range(3), 2)


def test_the_number_of_environments_is_fixed(make, make_row, stack, draw, windows, expected):
    replay = make()
    replay.add(stack([make_row(0), make_row(0, stream=1)]))
    with pytest.raises(ValueError, match="2"):
        replay.add(stack([make_row(1)] * 3))
    with pytest.raises(ValueError, match="2"):
        replay.add(make_row(1))
    with pytest.raises(SpecError, match="reward"):  # one leaf of another length
        replay.add(
            stack([make_row(1), make_row(1, stream=1)])._replace(reward=np.zeros(3, np.float32))
        )
    replay.add(stack([make_row(1), make_row(1, stream=1)]))
    assert windows(draw(replay, 2)) == expected([0], 2) | expected([0], 2, 1)


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"capacity": 0}, "capacity"),
        ({"sequence_length": None}, "sequence_length"),
        ({"sequence_length": 0}, "sequence_length"),
        ({"stride": 0}, "stride"),
        ({"capacity": 4, "sequence_length": 5}, "sequence_length=5"),
        ({"min_size": 2000}, "min_size"),
        ({"priority_exponent": -1.0}, "priority_exponent"),
        ({"timeout": 0}, "timeout"),
    ],
)
def test_arguments_that_cannot_be_served(make, config, name):
    with pytest.raises(ValueError, match=name):
        make(**config)


def test_num_steps_must_be_the_sequence_length(make):
    replay = make(sequence_length=3)
    with pytest.raises(ValueError, match=r"num_steps=2.*sequence_length=3"):
        replay.as_dataset(sample_batch_size=4, num_steps=2)
    with pytest.raises(ValueError, match="sample_batch_size"):
        replay.as_dataset(sample_batch_size=0)
    with pytest.raises(ValueError, match="prefetch"):
        replay.as_dataset(sample_batch_size=1, prefetch=-1)


FIRST, MID, LAST = StepType.FIRST, StepType.MID, StepType.LAST


@pytest.mark.parametrize("way", ["add", "writer"])
@pytest.mark.parametrize("num_envs", [None, 2])
def test_episodes_without_their_boundary_rows_are_refused(
    make, make_row, stack, draw, windows, expected, way, num_envs
):
    replay = make(sequence_length=2)
    write = replay.add if way == "add" else replay.writer(num_envs)

    def add(number, step_type, next_step_type):
        row = make_row(number, step_type, next_step_type)
        if num_envs:
            row = stack([row, make_row(number, MID, MID, stream=1)])
        write(row)

    add(0, FIRST, MID)
    add(1, MID, LAST)
    for _ in range(2):  # nothing is added
        with pytest.raises(
            ValueError, match=r"boundary row between them is missing.*from_episodes"
        ):
            add(2, FIRST, MID)
    assert len(replay) == 2 * (num_envs or 1)
    add(2, LAST, FIRST)
    add(3, FIRST, LAST)
    # Where one driver stops and another begins, which is no mistake, one may be missing.
    add(4, FIRST, LAST)
    with pytest.raises(ValueError, match="boundary row"):
        add(5, FIRST, LAST)
    add(5, LAST, FIRST)
    first = expected(range(3), 2) | expected([4], 2)
    others = expected(range(5), 2, 1) if num_envs else set()
    assert windows(draw(replay, len(first | others))) == first | others


def test_what_comes_after_clearing_begins_anew(make, make_row):
    replay = make(sequence_length=2)
    replay.add(make_row(0, FIRST, LAST))
    replay.clear()
    replay.add(make_row(1, FIRST, LAST))
