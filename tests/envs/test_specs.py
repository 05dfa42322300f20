import math

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jax_agents.envs import (
    ArraySpec,
    BoundedSpec,
    DiscreteSpec,
    EnvironmentSpecs,
    SpecError,
    sample,
    trajectory_spec,
    validate,
)
from jax_agents.envs import zeros as zeros_of
from jax_agents.envs.specs import leaf_name

TREE = {
    "camera": BoundedSpec((4, 4, 1), np.uint8, 0, 255),
    "speed": ArraySpec((2,)),
    "gear": DiscreteSpec(3),
}


def good(batch=()):
    return {
        "camera": np.zeros((*batch, 4, 4, 1), np.uint8),
        "speed": np.zeros((*batch, 2), np.float32),
        "gear": np.zeros(batch, np.int32),
    }


@pytest.mark.parametrize(
    ("batch", "ndim"), [((), 0), ((5,), 1), ((2, 3), 2), ((2, 3), None), ((), None)]
)
def test_good_data_passes_with_any_leading_axes(batch, ndim):
    validate(good(batch), TREE, batch_ndim=ndim, values=True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"camera": np.zeros((4, 4, 1), np.float32)},
            ["camera: expected uint8[4,4,1], got float32[4,4,1]", "astype"],
        ),
        (
            {"camera": np.zeros((4, 4, 4), np.uint8)},
            ["expected uint8[4,4,1], got uint8[4,4,4]", "frame stacking"],
        ),
        ({"speed": np.zeros((1, 2), np.float32)}, ["float32[1,2]", "x[0]"]),
        ({"speed": np.zeros(3, np.float32)}, ["float32[2], got float32[3]", "reshape"]),
        ({"gear": np.int64(1)}, ["gear: expected int32[] in 0..2, got int64[]"]),
    ],
)
def test_errors_name_leaf_expected_got_and_fix(change, words):
    with pytest.raises(SpecError) as error:
        validate(good() | change, TREE)
    assert all(word in str(error.value) for word in words), error.value


def test_missing_and_superfluous_leaves_are_named():
    bad = good()
    bad["sped"] = bad.pop("speed")
    with pytest.raises(SpecError, match=r"speed: missing.*rename 'sped'") as error:
        validate(bad, TREE)
    assert "sped: not in the spec" in str(error.value)


def test_a_forgotten_batch_axis():
    with pytest.raises(SpecError, match="add 1 leading axis"):
        validate(good()["speed"], TREE["speed"], batch_ndim=1)


@pytest.mark.parametrize(
    ("value", "spec", "words"),
    [
        (np.float32([0, np.nan]), ArraySpec((2,)), "1 of 2 numbers are NaN"),
        (np.float32([0, np.inf]), ArraySpec((2,)), "1 of 2 numbers are NaN or infinite"),
        (
            np.float32([0, 3]),
            BoundedSpec((2,), np.float32, -1, 1),
            r"1 of 2 numbers lie outside -?.*\[3.0\]",
        ),
        (np.int32(5), DiscreteSpec(5), r"outside 0..4: \[5\]"),
        (np.int32([1, 3]), DiscreteSpec((2, 3)), "1 of 2"),
    ],
)
def test_values_are_checked_on_request_only(value, spec, words):
    validate(value, spec)
    with pytest.raises(SpecError, match=words):
        validate(value, spec, values=True)


def test_bounds_broadcast_compare_and_hash():
    one = BoundedSpec((2,), np.float32, -1, [1, 1])
    assert one == BoundedSpec([2], "float32", [-1, -1], 1.0) and hash(one) == hash(
        BoundedSpec((2,), np.float32, -1, 1)
    )
    assert one != BoundedSpec((2,), np.float32, -1, [1, 2])
    np.testing.assert_array_equal(
        BoundedSpec((2,), np.float32, -1, [1, 2]).high, np.float32([1, 2])
    )
    assert BoundedSpec((0,)).low.shape == (0,)


def test_integers_without_bounds_span_their_type():
    spec = BoundedSpec((), np.uint8)
    assert (spec.minimum, spec.maximum) == (0, 255)
    spec = BoundedSpec((2,), np.int32, [-math.inf, -3], math.inf)
    np.testing.assert_array_equal(spec.low, [-(2**31), -3])
    np.testing.assert_array_equal(spec.high, [2**31 - 1] * 2)


def test_discrete_specs():
    assert DiscreteSpec(3).shape == () and DiscreteSpec((2, 3)).shape == (2,)
    assert DiscreteSpec(np.int64(3)) == DiscreteSpec(3) and DiscreteSpec(
        np.array([2, 3])
    ) == DiscreteSpec((2, 3))
    with pytest.raises(ValueError, match="at least one value"):
        DiscreteSpec((2, 0))


leaf_specs = st.one_of(
    st.builds(DiscreteSpec, st.integers(1, 5)),
    st.builds(DiscreteSpec, st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)),
    st.builds(
        BoundedSpec,
        st.just((2,)),
        st.just(np.float32),
        st.floats(-3, 0, width=16),
        st.floats(0, 3, width=16),
    ),
    st.builds(BoundedSpec, st.just((3,)), st.sampled_from([np.uint8, np.int32, np.int8])),
    st.just(BoundedSpec((2,), np.float32, 0.0, math.inf)),
    st.just(ArraySpec((2,), np.bool_)),
    st.just(ArraySpec((2, 2))),
)


@settings(max_examples=15, deadline=None)
@given(st.dictionaries(st.sampled_from("abc"), leaf_specs, min_size=1))
def test_samples_and_zeros_meet_their_spec(spec):
    validate(sample(spec, jax.random.key(0), (4,)), spec, batch_ndim=1, values=True)
    validate(zeros_of(spec, (2, 3)), spec, batch_ndim=2)


def test_samples_reach_both_ends_of_small_ranges():
    draws = np.asarray(sample(BoundedSpec((), np.int32, -1, 1), jax.random.key(0), (100,)))
    assert set(draws) == {-1, 0, 1}
    draws = np.asarray(sample(DiscreteSpec((2, 3)), jax.random.key(0), (100,)))
    assert set(draws[:, 0]) == {0, 1} and set(draws[:, 1]) == {0, 1, 2}


def test_a_tree_of_specs_has_specs_as_leaves():
    specs = EnvironmentSpecs(TREE, DiscreteSpec(2))
    row = trajectory_spec(specs, {"log_prob": ArraySpec(())})
    names = [leaf_name(path) for path, _ in jax.tree_util.tree_flatten_with_path(row)[0]]
    assert names == [
        "step_type",
        "observation/camera",
        "observation/gear",
        "observation/speed",
        "action",
        "policy_info/log_prob",
        "next_step_type",
        "reward",
        "discount",
    ]
    assert leaf_name(jax.tree_util.tree_flatten_with_path((1, 2))[0][0][0]) == "0"


@pytest.mark.parametrize(
    ("low", "high", "finite"),
    [(-1.0, 1.0, True), ((-1.0, 0.0), (1.0, np.inf), False), (-np.inf, 1.0, False)],
)
def test_bounds_are_finite_if_each_one_is(low, high, finite):
    assert BoundedSpec((2,), np.float32, low, high).is_finite is finite
