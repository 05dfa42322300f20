"""The sum tree against plain sums."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jax_agents.replay.host.sum_tree import SumTree

VALUES = st.floats(0, 1e6, allow_nan=False).map(lambda x: 0.0 if x < 1e-6 else x)


@settings(max_examples=60, deadline=None)
@given(
    capacity=st.sampled_from([1, 3, 16, 17, 4096, 4097, 70_000]),
    updates=st.lists(
        st.lists(st.tuples(st.integers(0, 2**40), VALUES), min_size=1, max_size=20),
        min_size=1,
        max_size=6,
    ),
    seed=st.integers(0, 2**31),
)
def test_against_plain_sums(capacity, updates, seed):
    tree, values = SumTree(capacity), np.zeros(capacity)
    for update in updates:
        update = {i % capacity: v for i, v in update}
        if len(update) == 1:
            (index, value), *_ = update.items()
            tree.set(index, value)  # one, as when a row is added
        else:
            tree.set(np.array(list(update)), np.array(list(update.values())))
        values[list(update)] = list(update.values())
        np.testing.assert_allclose(tree.total, values.sum(), rtol=1e-12)
    np.testing.assert_array_equal(tree[np.arange(capacity)], values)
    rng = np.random.default_rng(seed)
    if values.sum() == 0:
        with pytest.raises(ValueError, match="zero"):
            tree.sample(rng, 1)
        return
    indices = tree.sample(rng, 2000)
    assert (values[indices] > 0).all()
    share = values / values.sum()
    counts = np.bincount(indices, minlength=capacity) / 2000
    assert (np.abs(counts - share) <= 6.5 * np.sqrt(share * (1 - share) / 2000) + 5e-3).all()


def test_every_leaf_is_found_at_the_middle_and_near_the_edges_of_its_span():
    tree, values = SumTree(9000), np.arange(9000) % 7
    tree.set(np.arange(9000), values)
    assert tree.total == values.sum()
    ends = np.cumsum(values)
    some = np.flatnonzero(values)
    for at in (0.0, 0.5, 0.999):
        np.testing.assert_array_equal(tree._find(ends[some] - values[some] * (1 - at)), some)


def test_the_last_value_of_a_repeated_index_holds():
    tree = SumTree(5)
    tree.set(np.array([2, 2, 3]), np.array([1.0, 4.0, 2.0]))
    assert tree.total == 6.0
    tree.set(3, 0.0)
    assert tree.total == 4.0
    assert set(tree.sample(np.random.default_rng(0), 50)) == {2}


def test_sums_do_not_drift():
    tree, rng = SumTree(100), np.random.default_rng(0)
    for _ in range(2000):
        tree.set(rng.integers(100, size=8), 10.0 ** rng.integers(-8, 8, size=8))
    tree.set(np.arange(100), np.full(100, 1e-8))
    np.testing.assert_allclose(tree.total, 1e-6, rtol=1e-13)


def test_many_single_changes_are_summed_before_they_are_asked_for():
    tree = SumTree(5000)
    for i in range(5000):
        tree.set(i, 1.0)
    assert len(tree._stale) < 4097
    assert tree.total == 5000
