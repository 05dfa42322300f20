"""Batches of examples: weights, standardisation and sums."""

import jax.numpy as jnp
import numpy as np
import pytest

from jax_agents.agents import Examples, Shard
from jax_agents.agents.examples import standardize, total


def examples(weight):
    zeros = jnp.zeros(np.shape(weight))
    return Examples(zeros, zeros, zeros, zeros, zeros, zeros, jnp.array(weight))


def test_mean_weights_examples_and_ignores_what_has_weight_0():
    batch = examples([1.0, 2.0, 0.0])
    x = jnp.array([3.0, 5.0, jnp.nan])
    assert batch.mean(x) == pytest.approx((3 + 2 * 5) / 3)
    assert batch.mean(x, jnp.array([0.5, 1.0, 1.0])) == pytest.approx((1.5 + 10) / 3)


def test_mean_of_sequences_is_over_their_rows_first():
    batch = examples([[1.0, 0.0], [1.0, 1.0]])
    x = jnp.array([[2.0, 9.0], [4.0, 6.0]])
    assert batch.mean(x, jnp.array([1.0, 3.0])) == pytest.approx((1 + 3 * 5) / 2)


def test_standardize_leaves_rows_of_weight_0_out():
    x = jnp.array([1.0, 3.0, 100.0])
    weight = jnp.array([2.0, 2.0, 0.0])
    np.testing.assert_allclose(standardize(x, weight)[:2], [-1.0, 1.0], rtol=1e-5)


@pytest.mark.parametrize("weight", [[1.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
def test_standardize_leaves_a_single_element_as_it_is(weight):
    """Its deviation from its own mean is 0, which would say that nothing is to be learned."""
    x = jnp.array([-3.0, 5.0, jnp.nan])
    np.testing.assert_array_equal(standardize(x, jnp.array(weight)), [-3.0, 0.0, 0.0])


def test_a_shard_has_no_total():
    assert total(jnp.array([1.0, 2.0])) == 3.0
    with pytest.raises(ValueError, match="cannot be split over the learners of a group"):
        total(jnp.ones(2), Shard(lambda tree: tree))
