"""Parameters by name, and back into the agent's structure."""

import jax
import numpy as np
import pytest

from jax_agents.serving.parameters import fill, named_arrays


@pytest.fixture
def params():
    return {"q": [np.int32(4), np.ones((1, 2), np.float32)], "key": jax.random.key(1)}


def test_leaves_by_name(params):
    arrays = named_arrays(params)
    assert sorted(arrays) == ["key", "q/0", "q/1"]
    np.testing.assert_array_equal(arrays["key"], jax.random.key_data(params["key"]))
    np.testing.assert_array_equal(arrays["q/1"], params["q"][1])


def test_there_and_back(params):
    template = jax.eval_shape(lambda: jax.tree.map(jax.numpy.zeros_like, params))
    filled = fill(template, named_arrays(params))
    assert filled["key"] == params["key"] and filled["q"][0] == 4
    assert filled["q"][1].dtype == np.float32


def test_what_differs_is_named(params):
    arrays = named_arrays(params) | {"q/1": np.ones((2, 2), np.float32)}
    with pytest.raises(
        ValueError, match=r"q/1 is \(\(2, 2\), .* there, \(\(1, 2\), .* here \(1 differ\)"
    ):
        fill(params, arrays)
    del arrays["q/1"]
    with pytest.raises(ValueError, match=r"q/1 is missing there"):
        fill(params, arrays)
