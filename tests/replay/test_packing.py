"""Packed rows."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jax_agents.envs.specs import (
    ArraySpec,
    DiscreteSpec,
    EnvironmentSpecs,
    SpecError,
    trajectory_spec,
)
from jax_agents.envs.types import Trajectory
from jax_agents.replay import RowLayout

OBSERVATION = {
    "camera": ArraySpec((33, 32), np.uint8),
    "speed": ArraySpec((3,)),
    "flags": ArraySpec((2, 2), np.bool_),
}
SPEC = trajectory_spec(
    EnvironmentSpecs(OBSERVATION, (DiscreteSpec(3), DiscreteSpec((2, 5)))),
    {"log_prob": ArraySpec((), np.float64)},
)


def random_rows(rng, spec, batch_shape):
    rows = jax.tree.map(
        lambda s: np.asarray(
            rng.integers(0, 2, batch_shape + s.shape) * rng.integers(1, 99)
        ).astype(s.dtype),
        spec,
    )
    if not isinstance(rows, Trajectory):
        return rows
    return rows._replace(discount=np.asarray(np.minimum(rows.discount, np.float32(1))))


def test_columns():
    layout = RowLayout(SPEC)
    # step types and reward and discount, flags, speed, actions, log_prob
    small = 3 * 4 + 2 * 2 * 1 + 3 * 4 + 4 + 2 * 4 + 8 + 4
    assert layout.columns == {"packed": ((small,), np.uint8), "leaf1": ((33, 32), np.uint8)}
    assert layout.row_bytes == small + 33 * 32
    assert layout.names[:4] == [
        "step_type",
        "observation/camera",
        "observation/flags",
        "observation/speed",
    ]
    assert layout.describe()[1] == "observation/camera: uint8[33,32]"
    cartpole = RowLayout(trajectory_spec(EnvironmentSpecs(ArraySpec((4,)), DiscreteSpec(2))))
    assert cartpole.columns == {"packed": ((36,), np.uint8)}


@settings(max_examples=30, deadline=None)
@given(
    shapes=st.lists(st.lists(st.integers(0, 4), max_size=3).map(tuple), min_size=1, max_size=5),
    dtypes=st.lists(
        st.sampled_from([np.float32, np.float64, np.int32, np.uint8, np.bool_, np.float16]),
        min_size=5,
        max_size=5,
    ),
    batch_shape=st.sampled_from([(), (1,), (4,), (2, 3)]),
    large=st.sampled_from([8, 1024]),
    seed=st.integers(0, 2**31),
)
def test_unpack_inverts_pack(shapes, dtypes, batch_shape, large, seed):
    spec = {
        f"leaf{i}": ArraySpec(shape, dtype)
        for i, (shape, dtype) in enumerate(zip(shapes, dtypes, strict=False))
    }
    layout = RowLayout(spec, large_leaf_bytes=large)
    rows = random_rows(np.random.default_rng(seed), spec, batch_shape)
    columns = layout.pack(rows)
    assert {name: (x.shape, x.dtype) for name, x in columns.items()} == {
        name: (batch_shape + shape, dtype) for name, (shape, dtype) in layout.columns.items()
    }
    for got, want in zip(
        jax.tree.leaves(layout.unpack(columns)), jax.tree.leaves(rows), strict=True
    ):
        assert got.dtype == want.dtype
        assert got.shape == want.shape
        np.testing.assert_array_equal(got, want)


def test_unpacked_small_leaves_are_copies_and_contiguous():
    layout = RowLayout(SPEC)
    columns = layout.pack(random_rows(np.random.default_rng(0), SPEC, (5, 2)))
    rows = layout.unpack(columns)
    assert all(x.flags.c_contiguous for x in jax.tree.leaves(rows))
    assert not np.shares_memory(rows.observation["speed"], columns["packed"])


def test_writing_to_views_packs_in_place():
    layout, rng = RowLayout(SPEC), np.random.default_rng(0)
    columns = layout.allocate(6)
    rows = random_rows(rng, SPEC, (6,))
    for view, leaf in zip(layout.views(columns), jax.tree.leaves(rows), strict=True):
        view[:] = leaf
    jax.tree.map(np.testing.assert_array_equal, layout.pack(rows), columns)


def test_leaves_checks_rows():
    layout, rng = RowLayout(SPEC), np.random.default_rng(0)
    for batch_shape in ((), (3,), (2, 3)):
        rows = random_rows(rng, SPEC, batch_shape)
        assert len(layout.leaves(rows, batch_shape)) == 10
        with pytest.raises(SpecError, match=r"reward: expected .*float32"):
            layout.leaves(rows._replace(reward=rows.reward.astype(np.float64)), batch_shape)
        with pytest.raises(SpecError, match="observation/camera: missing"):
            layout.leaves(
                rows._replace(observation={"speed": rows.observation["speed"]}), batch_shape
            )
    with pytest.raises(SpecError, match=r"reward: .*\(3,\).*\(2,\)"):
        layout.leaves(random_rows(rng, SPEC, (3,))._replace(reward=np.zeros(2, np.float32)), (3,))


def test_the_specs_of_an_environment_are_not_those_of_a_row():
    with pytest.raises(TypeError, match=r"agent.collect_data_spec, got an environment's"):
        RowLayout(EnvironmentSpecs(ArraySpec((4,)), DiscreteSpec(2)))
