"""The entry by which the clients of a table agree on its rows."""

import numpy as np
import pytest

from jax_agents.envs.specs import ArraySpec, DiscreteSpec, EnvironmentSpecs, trajectory_spec
from jax_agents.replay.packing import RowLayout
from jax_agents.replay.tables.layout import (
    check_layout,
    encode_layout,
    is_layout_table,
    known_tables,
    layout_table,
)


def layout(*shape, dtype=np.float32, action=2):
    specs = EnvironmentSpecs(ArraySpec(shape, dtype), DiscreteSpec(action))
    return RowLayout(trajectory_spec(specs))


def test_names():
    assert is_layout_table(layout_table("experience")) and not is_layout_table("experience")
    assert known_tables(["b", "a.layout", "a", "b.layout"]) == ["a", "b"]


def test_equal_rows_agree_whatever_shape_the_entry_has():
    entry = encode_layout(layout(4), 2)
    for given in (entry, entry[None], entry[None, None]):
        check_layout("t", "a:1", given, layout(4), 2)


@pytest.mark.parametrize(
    ("other", "rows", "words"),
    [
        (layout(3), 2, r"has observation: float32\[4\], got observation: float32\[3\]"),
        # as many bytes, which Reverb could not tell apart
        (layout(4, dtype=np.int32), 2, r"has observation: float32\[4\], got observation: int32"),
        (layout(2, 2), 2, r"has observation: float32\[4\], got observation: float32\[2,2\]"),
        (layout(4), 3, "sequence_length: the table has 2, got 3"),
    ],
)
def test_other_rows_are_named_by_leaf(other, rows, words):
    with pytest.raises(ValueError, match=rf"table 't' at a:1 holds other rows .*{words}.*Pass"):
        check_layout("t", "a:1", encode_layout(layout(4), 2), other, rows)


def test_a_leaf_more_or_less_is_named():
    specs = EnvironmentSpecs({"a": ArraySpec((2,)), "b": ArraySpec((2,))}, DiscreteSpec(2))
    both = RowLayout(trajectory_spec(specs))
    with pytest.raises(ValueError, match="observation/b"):
        check_layout("t", "a:1", encode_layout(both, 2), layout(2), 2)
    with pytest.raises(ValueError, match="no such leaf"):
        check_layout("t", "a:1", encode_layout(layout(2), 2), both, 2)
