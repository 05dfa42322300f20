import jax
import jax.numpy as jnp
import numpy as np

from jax_agents.learners.packed import PackedTree


def test_unpack_is_the_inverse_and_leaves_are_few():
    tree = {
        "a": jnp.arange(6.0).reshape(2, 3),
        "b": (jnp.int32(4), jnp.zeros((0, 2)), jnp.array([True, False])),
        "key": jax.random.key(7),
        "keys": jax.random.split(jax.random.key(1), 3),
        "c": jnp.full((2,), 2.5),
    }
    packing = PackedTree(jax.eval_shape(lambda: tree))
    vectors = jax.jit(packing.pack)(tree)
    assert len(vectors) == 3 + 2  # float32, int32, bool, and the two keys
    back = jax.jit(packing.unpack)(vectors)
    assert jax.tree.structure(back) == jax.tree.structure(tree)
    for a, b in zip(jax.tree.leaves(tree), jax.tree.leaves(back), strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        raw = jax.random.key_data if jnp.issubdtype(a.dtype, jax.dtypes.prng_key) else np.asarray
        np.testing.assert_array_equal(raw(a), raw(b))


def test_large_leaves_stay_as_they_are():
    tree = {"a": jnp.arange(6.0).reshape(2, 3), "b": jnp.ones((2, 2)), "c": jnp.float32(2.0)}
    packing = PackedTree(tree, largest=4)
    vectors = packing.pack(tree)
    assert [v.shape for v in vectors] == [(5,), (2, 3)]
    jax.tree.map(np.testing.assert_array_equal, packing.unpack(vectors), tree)


def test_views_of_vectors_on_the_host():
    example = {
        "a": jax.ShapeDtypeStruct((2, 3), np.float32),
        "b": jax.ShapeDtypeStruct((), np.int32),
    }
    packing = PackedTree(example)
    vectors = packing.zeros()
    views = packing.unpack(vectors)
    views["a"][1] = 5.0
    views["b"][...] = 7
    assert [v.tolist() for v in vectors] == [[0.0, 0.0, 0.0, 5.0, 5.0, 5.0], [7]]
    back = jax.jit(packing.unpack)(vectors)
    assert back["b"] == 7 and back["a"].tolist() == [[0.0] * 3, [5.0] * 3]
