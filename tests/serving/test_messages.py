"""JSON to arrays and back: what is let in, and what the refusals say."""

from typing import NamedTuple

import gymnasium
import numpy as np
import pytest

from jax_agents.envs.preprocessing import get_preprocessor
from jax_agents.envs.specs import ArraySpec, BoundedSpec, DiscreteSpec
from jax_agents.serving import messages
from jax_agents.serving.encoding import to_json
from jax_agents.serving.messages import MessageError, parse


class Pair(NamedTuple):
    left: object
    right: object


VECTOR = ArraySpec((2,))
TREE = {
    "camera": ArraySpec((1, 2, 3), np.uint8),
    "rest": (DiscreteSpec(3), BoundedSpec((2,), np.float32, -1, 1)),
}


def test_there_and_back():
    value = {"camera": [[[0, 1, 2], [3, 4, 255]]], "rest": [2, [0.5, -1]]}
    tree = parse(value, TREE, "observation")
    assert tree["camera"].dtype == np.uint8 and tree["camera"].shape == (1, 2, 3)
    assert tree["rest"][0].dtype == np.int32 and tree["rest"][1].dtype == np.float32
    assert to_json(tree) == value
    pair = parse([1, True], Pair(DiscreteSpec(2), ArraySpec((), np.bool_)), "x")
    assert isinstance(pair, Pair) and pair.right.dtype == np.bool_


def test_float32_survives_exactly():
    values = np.random.default_rng(0).normal(size=2).astype(np.float32)
    np.testing.assert_array_equal(parse(to_json(values), VECTOR, "x"), values)


@pytest.mark.parametrize(
    ("value", "spec", "message"),
    [
        ([1, 2, 3], VECTOR, r"x: expected float32\[2\], got an array, int64\[3\]"),
        ([1, "2"], VECTOR, "x: expected float32"),
        ([1, None], VECTOR, "x: expected float32"),
        ([[1], [2, 3]], VECTOR, "uneven lengths"),
        ([1, float("nan")], VECTOR, "1 of 2 numbers are NaN or infinite"),
        ([1, 1e39], VECTOR, "NaN or infinite"),
        ([1, 10**400], VECTOR, "x: expected float32"),
        (3, DiscreteSpec(3), r"outside 0\.\.2: \[3\]"),
        (1.5, DiscreteSpec(3), "whole numbers"),
        (2**40, DiscreteSpec(3), "whole numbers"),
        (True, DiscreteSpec(3), "x: expected int32"),
        (1, ArraySpec((), np.bool_), "x: expected bool"),
        ([2, 0], TREE["rest"][1], r"outside \[-1\. -1\.\]\.\.\[1\. 1\.\]: \[2\.0\]"),
        (256, ArraySpec((), np.uint8), "whole numbers"),
        (
            [0, [0, 0]],
            TREE,
            r"x: expected an object with the keys \['camera', 'rest'\], got an array",
        ),
        ({"camera": []}, TREE, "keys"),
        ([1], TREE["rest"], "x: expected an array of 2 parts"),
    ],
)
def test_what_is_refused_says_what_was_expected(value, spec, message):
    with pytest.raises(MessageError, match=message):
        parse(value, spec, "x")


def test_observations_may_pass_their_bounds_but_stay_finite():
    spec = BoundedSpec((1,), np.float32, -1, 1)
    assert parse([2], spec, "x", bounded=False) == 2
    with pytest.raises(MessageError, match="NaN"):
        parse([float("inf")], spec, "x", bounded=False)
    with pytest.raises(MessageError, match="outside"):
        parse(7, DiscreteSpec(3), "x", bounded=False)  # would index outside an embedding


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[" * 100_000, b"[]", b"1", b'{"a": 01}'])
def test_a_body_that_is_no_json_object(body):
    with pytest.raises(MessageError, match="body: expected a JSON object"):
        messages.parse_object(body)
    assert messages.parse_object(b"") == {}


@pytest.mark.parametrize("value", [True, None, "1", float("nan"), float("inf"), 1e39, 10**400])
def test_a_number_is_finite_in_float32(value):
    assert messages.parse_number(2, "reward") == 2.0
    with pytest.raises(MessageError, match="reward: expected a finite number"):
        messages.parse_number(value, "reward")


def test_schema_describes_what_is_let_in():
    schema = messages.json_schema(TREE)
    assert schema["required"] == ["camera", "rest"]
    assert schema["properties"]["rest"]["prefixItems"][0]["maximum"] == 2
    camera = schema["properties"]["camera"]
    assert (
        camera["maxItems"],
        camera["items"]["minItems"],
        camera["items"]["items"]["items"]["type"],
    ) == (1, 2, "integer")
    assert messages.to_text(TREE) == {
        "camera": "uint8[1,2,3]",
        "rest": ["int32[] in 0..2", "float32[2]"],
    }


def test_keys_that_are_missing_or_unknown():
    messages.check_keys({"a": 1, "b": 2}, known=("a", "b", "c"), required=("a",))
    with pytest.raises(MessageError, match=r"d: not known here; expected \['a', 'b'\]"):
        messages.check_keys({"d": 1}, known=("b", "a"), required=("a",))
    with pytest.raises(MessageError, match=r"a: missing; got \['b'\]"):
        messages.check_keys({"b": 1}, known=("b", "a"), required=("a",))


def test_raw_observations_are_the_preprocessors(dqn):
    agent, _ = dqn
    spec, preprocess = messages.raw_observations(agent, None)
    assert spec is agent.specs.observation and preprocess("as it is") == "as it is"
    one_hot = get_preprocessor(gymnasium.spaces.Discrete(3, start=1))
    spec, preprocess = messages.raw_observations(agent, one_hot)
    assert spec == DiscreteSpec(3)  # counted from 0, whatever gymnasium counts from
    np.testing.assert_array_equal(preprocess(np.int32(2)), [0, 0, 1])
