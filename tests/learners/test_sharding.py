"""Splitting a batch, and the mean of its parts, by hand-worked numbers."""

import numpy as np
import pytest

from jax_agents.learners.sharding import split_batch, weighted_average


def test_an_even_batch_is_cut_without_weights():
    first, second = split_batch({"x": np.arange(6), "y": np.ones((6, 2))}, None, 2)
    np.testing.assert_array_equal(first.batch["x"], [0, 1, 2])
    np.testing.assert_array_equal(second.batch["x"], [3, 4, 5])
    assert second.batch["y"].shape == (3, 2)
    assert (first.weights, first.first, first.size) == (None, 0, 3)
    assert (second.weights, second.first, second.size) == (None, 3, 3)


def test_parts_of_an_uneven_batch_have_one_shape_and_their_own_mean():
    parts = split_batch(np.array([10.0, 20.0, 30.0, 40.0, 60.0]), None, 2)
    assert [(part.first, part.size, part.batch.shape) for part in parts] == [
        (0, 2, (3,)),
        (2, 3, (3,)),
    ]
    np.testing.assert_allclose(parts[0].weights, [1.5, 1.5, 0])
    np.testing.assert_allclose(parts[1].weights, [1, 1, 1])
    means = [np.mean(part.weights * part.batch) for part in parts]
    np.testing.assert_allclose(means, [15, 130 / 3], rtol=1e-6)
    np.testing.assert_allclose(
        weighted_average(means, [2, 3]), np.mean([10, 20, 30, 40, 60]), rtol=1e-6
    )


@pytest.mark.parametrize("total", range(1, 9))
@pytest.mark.parametrize("count", range(1, 6))
def test_any_split_of_weighted_examples_has_the_mean_of_the_whole(total, count):
    rng = np.random.default_rng(total)
    values = rng.normal(size=total)
    weights = rng.uniform(0.1, 2, size=total).astype(np.float32)
    parts = split_batch(values, weights, count)
    sizes = [part.size for part in parts]
    assert sum(sizes) == total and max(sizes) - min(sizes) <= 1
    assert len({part.batch.shape for part in parts}) == 1
    np.testing.assert_array_equal(
        np.concatenate([part.batch[: part.size] for part in parts]), values
    )
    mean = weighted_average([np.mean(part.weights * part.batch) for part in parts], sizes)
    np.testing.assert_allclose(mean, np.mean(weights * values), rtol=1e-5, atol=1e-6)


def test_what_an_empty_part_gives_is_not_looked_at():
    parts = split_batch(np.array([7.0]), None, 2)
    assert [part.size for part in parts] == [0, 1]
    np.testing.assert_array_equal(parts[0].weights, [0])
    mean = weighted_average(
        [{"w": np.array(np.nan, np.float32)}, {"w": np.array(3, np.float32)}], [0, 1]
    )
    assert mean["w"] == 3 and mean["w"].dtype == np.float32


@pytest.mark.parametrize(
    ("batch", "axes"),
    [
        ({"x": np.zeros((0, 3))}, r"\[\(0,\)\]"),
        ({"x": np.zeros(3), "y": np.zeros(4)}, r"\[\(3,\), \(4,\)\]"),
        (1.0, r"\[\(\)\]"),
    ],
)
def test_batches_that_cannot_be_split(batch, axes):
    with pytest.raises(
        ValueError, match=rf"expected leaves \[B, ...\] of one B >= 1, got leading axes {axes}"
    ):
        split_batch(batch, None, 2)
