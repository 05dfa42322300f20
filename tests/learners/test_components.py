"""Components of a training state as NumPy, by hand-made trees."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_agents.learners.components import check_names, chosen, like, restore, save, to_numpy

TEMPLATE = {"a": jnp.zeros((2, 3)), "key": jax.random.key(0), "n": jnp.int32(0)}


def test_values_take_the_templates_dtypes_and_keys():
    key = to_numpy(jax.random.key(5))
    assert key.dtype == np.uint32
    got = like(TEMPLATE, {"a": np.ones((2, 3)), "key": key, "n": 7.0}, "params")
    assert got["a"].dtype == jnp.float32 and got["n"].dtype == jnp.int32 and got["n"] == 7
    assert jax.random.uniform(got["key"]) == jax.random.uniform(jax.random.key(5))


def test_other_structures_and_shapes_are_named():
    key = to_numpy(TEMPLATE["key"])
    with pytest.raises(ValueError, match=r"^params: expected leaves .*'a'.*got \['b'\]"):
        like(TEMPLATE, {"b": np.zeros(1)}, "params")
    wrong = {"a": np.zeros((3, 2)), "key": key, "n": 0}
    with pytest.raises(ValueError, match=r"params.*a.*: expected float32\[2, 3\], got .*\[3, 2\]"):
        like(TEMPLATE, wrong, "params")


def test_names_are_chosen_from_those_that_there_are():
    assert chosen("state", None, ["a", "b"]) == ("a", "b")
    assert chosen("state", "b", ["a", "b"]) == ("b",) == chosen("state", ["b"], ["a", "b"])
    for call in (chosen, check_names):
        with pytest.raises(ValueError, match=r"weights: no component \['x'\]; there are \['a'\]"):
            call("weights", ["x"], ["a"])


def test_a_later_state_of_an_earlier_run_is_replaced(tmp_path):
    for step in (9, 4):
        save({"step": np.int32(step), "params": {"w": np.full(2, step, np.float32)}}, tmp_path)
    got = restore({"step": np.int32(0), "params": {"w": np.zeros(2, np.float32)}}, tmp_path)
    assert got["step"] == 4 and got["params"]["w"].tolist() == [4.0, 4.0]
