"""Fields of protocol buffers, worked by hand."""

import hypothesis
import pytest
from hypothesis import strategies as st

from jax_agents.replay.remote import protobuf


def test_bytes_worked_by_hand():
    assert protobuf.varint(300) == b"\xac\x02"
    assert protobuf.varint(2**64 - 1) == protobuf.varint(-1) == b"\xff" * 9 + b"\x01"
    assert protobuf.integer(1, 150) == b"\x08\x96\x01" and protobuf.integer(1, 0) == b""
    assert protobuf.message(2, b"test", b"ing") == b"\x12\x07testing"
    assert protobuf.fields(b"\x12\x07testing\x08\x96\x01") == [(18, 2, 9), (8, 150, 0)]
    assert protobuf.fields(b"\x12\x07testing\x08\x96\x01", 9) == [(8, 150, 0)]
    assert protobuf.signed(2**64 - 1) == -1 and protobuf.signed(5) == 5


def test_fields_by_tag():
    data = protobuf.integer(1, 7) + protobuf.message(2, b"ab") + protobuf.integer(1, 8)
    data += protobuf.double(3, 0.5)
    found = protobuf.spans(data)
    assert found[8] == (8, 0)  # the last one counts
    assert protobuf.read_text(data, found[18]) == "ab"
    assert protobuf.read_double(data, found[25][0]) == 0.5
    assert protobuf.read_text(data, found.get(26, protobuf.NO_BYTES)) == ""


@hypothesis.given(st.integers(0, 2**64 - 1), st.binary(max_size=3))
def test_numbers_come_back(number, rest):
    data = protobuf.varint(number)
    assert protobuf.read_varint(b"x" + data + rest, 1) == (number, 1 + len(data))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x08", "cut off"),
        (b"\x12\x05test", "cut off"),
        (b"\x08\xff", "a number is cut off"),
        (b"\xff" * 11, "more than ten bytes"),
        (b"\x0b\x00", "unknown kind 3"),
        (b"\x09\x00", "cut off"),
    ],
)
def test_messages_that_are_cut_off_or_garbled(data, message):
    with pytest.raises(protobuf.MessageError, match=message):
        protobuf.spans(data)
