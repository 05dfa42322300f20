"""Requests to a server and its short answers, worked by hand; test_client.py asks a real one."""

import contextlib

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from jax_agents.replay.remote import protobuf, wire
from jax_agents.replay.remote.protobuf import double, integer, message


def test_requests_worked_by_hand():
    assert wire.encode_reset("t") == b"\x0a\x01t"
    assert wire.encode_sample_request("t", 3, 5) == b"\x0a\x01t\x10\x03\x1a\x02\x08\x05"
    chunk = wire.Chunk(7, 1, b"c")
    assert wire.encode_insert([chunk], [b"i"], [7]) == b"\x0a\x01c\x12\x01i\x1a\x01\x07"
    assert wire.encode_mutation("t", (), [300]) == b"\x0a\x01t\x1a\x02\xac\x02"


def test_a_table_and_its_signature():
    def spec(code, *shape):
        dims = b"".join(message(2, integer(1, n)) for n in shape)
        return message(33, message(2, dims), integer(3, code))

    b_first = message(
        53,
        message(1, message(1, b"b"), message(2, spec(3))),
        message(1, message(1, b"a"), message(2, message(51, message(1, spec(1, 2, -1))))),
    )
    table = (
        message(1, message(3, double(1, 0.5)))
        + integer(3, 100)
        + integer(4, -1)
        + message(5, double(1, 1.5), double(3, 9.0), integer(4, 6), message(5, integer(2, 11)))
        + message(6, b_first)
        + integer(7, 42)
        + message(8, b"name")
    )
    info = wire.decode_tables(message(2, table))["name"]
    assert info == wire.TableInfo(
        name="name",
        sampler="prioritized",
        priority_exponent=0.5,
        max_size=100,
        current_size=42,
        max_times_sampled=-1,
        min_size=6,
        samples_per_insert=1.5,
        min_diff=0.0,
        max_diff=9.0,
        inserts=11,
        samples=0,
        signature={"a/0": (np.dtype(np.float32), (2, -1)), "b": (np.dtype(np.int32), ())},
    )
    assert list(info.signature) == ["a/0", "b"]
    empty = wire.decode_tables(message(2, message(8, b"t")))["t"]
    assert (empty.sampler, empty.priority_exponent, empty.signature) == ("", None, None)


def test_keys_and_paths():
    assert wire.decode_keys(integer(1, 5) + message(1, protobuf.varint(300), b"\x07")) == [
        5,
        300,
        7,
    ]
    assert wire.decode_path(message(1, b"/there")) == "/there" and wire.decode_path(b"") == ""


def test_integers_as_differences():
    column = np.uint8([[5, 1], [7, 0]])
    plain, delta = (wire.encode_chunk(1, 1, 0, [column], delta) for delta in (False, True))
    assert plain.rows == 2 and b"\x05\x01\x07\x00" in plain.data
    assert b"\x05\x01\x02\xff" in delta.data


def test_a_dtype_that_reverb_does_not_have():
    with pytest.raises(TypeError, match="no column of dtype <U1"):
        wire.encode_chunk(1, 1, 0, [np.array(["a"])])


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(st.binary(max_size=200))
def test_noise_is_refused_or_empty(noise):
    for decode in (wire.decode_tables, wire.decode_keys, wire.decode_path):
        with contextlib.suppress(protobuf.MessageError):
            decode(noise)
