"""Trees to JSON and arrays to `.npz`, and back."""

import io

import numpy as np
import pytest

from jax_agents.serving import encoding


def test_trees_as_json():
    tree = {1: np.ones((1, 2), np.float32), "b": (np.int32(3), [True, 2.5, None])}
    assert encoding.to_json(tree) == {"1": [[1.0, 1.0]], "b": [3, [True, 2.5, None]]}


def test_actions_from_json():
    action = encoding.from_json({"move": [[1, 2]], "push": [0, 0.5], "button": 3})
    assert action["button"] == 3 and isinstance(action["button"], int)
    assert action["push"].dtype == np.float32 and action["move"].dtype == np.int64
    np.testing.assert_array_equal(action["move"], [[1, 2]])
    np.testing.assert_array_equal(action["push"], [0, 0.5])


def test_arrays_travel_by_name_whatever_the_name():
    arrays = {"file": np.arange(3.0), "q/0": np.int32(4), "q/1": np.ones((1, 2), np.float32)}
    got = encoding.unpack_arrays(encoding.pack_arrays(arrays))
    assert sorted(got) == sorted(arrays)
    for name, array in arrays.items():
        assert got[name].dtype == array.dtype
        np.testing.assert_array_equal(got[name], array)


def test_pickled_arrays_are_refused():
    buffer = io.BytesIO()
    np.savez(buffer, evil=np.array([object()], dtype=object))
    with pytest.raises(ValueError, match="pickle"):
        encoding.unpack_arrays(buffer.getvalue())
