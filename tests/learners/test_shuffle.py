import jax
import numpy as np
import pytest

from jax_agents.learners.shuffle import permutation


def many(size, num):
    return np.asarray(
        jax.jit(jax.vmap(lambda key: permutation(key, size)))(
            jax.random.split(jax.random.key(3), num)
        )
    )


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 8, 100, 128, 1000])
def test_every_number_once(size):
    drawn = many(size, 5)
    assert drawn.dtype == np.int32
    np.testing.assert_array_equal(
        np.sort(drawn, axis=1), np.broadcast_to(np.arange(size), (5, size))
    )


def test_one_key_one_permutation_and_other_keys_others():
    keys = jax.random.split(jax.random.key(0), 2)
    first, again, other = (np.asarray(permutation(k, 64)) for k in (keys[0], keys[0], keys[1]))
    np.testing.assert_array_equal(first, again)
    assert (first != other).sum() > 50
    np.testing.assert_array_equal(jax.vmap(lambda k: permutation(k, 64))(keys)[1], other)


def test_all_permutations_of_five_are_as_probable():
    _, counts = np.unique(many(5, 24_000), axis=0, return_counts=True)
    assert len(counts) == 120
    chi2 = ((counts - 200.0) ** 2 / 200.0).sum()
    assert chi2 < 119 + 4 * np.sqrt(2 * 119)  # four standard deviations of the statistic


@pytest.mark.parametrize("size", [48, 64])
def test_places_and_neighbours_are_uniform(size):
    drawn = many(size, 20_000)
    cells = np.stack([np.bincount(drawn[:, i], minlength=size) for i in range(size)])
    expected = len(drawn) / size
    freedom = (size - 1) ** 2
    assert ((cells - expected) ** 2 / expected).sum() < freedom + 4 * np.sqrt(2 * freedom)
    parts = drawn // (size // 4)  # which of four minibatches each place belongs to
    together = (parts[:, :1] == parts[:, 1:]).mean(axis=0)
    chance = (size // 4 - 1) / (size - 1)
    assert np.abs(together - chance).max() < 4.5 * np.sqrt(chance * (1 - chance) / len(drawn))


def test_no_size():
    with pytest.raises(ValueError, match="expected a size of at least 1, got 0"):
        permutation(jax.random.key(0), 0)
