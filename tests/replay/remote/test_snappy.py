"""Snappy in Python and by cramjam."""

import contextlib

import hypothesis
import pytest
from hypothesis import strategies as st

from jax_agents.replay.remote import protobuf, snappy

QUICK = hypothesis.settings(max_examples=60, deadline=None)


def test_bytes_worked_by_hand():
    assert snappy.literal(b"ab") == b"\x02\x04ab" and snappy.literal(b"") == b"\0"
    # An a, and a copy of 7 from 1 back.
    assert snappy._decompress(b"\x08\x00a\x1a\x01\x00", 1, 8) == b"aaaaaaaa"
    assert bytes(snappy.decompress(b"\x02\x04ab", 2)) == b"ab"


def test_without_cramjam_nothing_is_compressed_and_all_is_unpacked(monkeypatch):
    packed = snappy.compress(b"ab" * 500)
    monkeypatch.setattr(snappy, "_cramjam", lambda: None)
    assert snappy.compress(b"ab" * 500) == snappy.literal(b"ab" * 500)
    assert bytes(snappy.decompress(packed, 1000)) == b"ab" * 500


@QUICK
@hypothesis.given(st.binary(max_size=400), st.integers(1, 20))
def test_snappy_in_python_and_by_cramjam_agree(data, times):
    cramjam = pytest.importorskip("cramjam")
    data = data * times
    for packed in (bytes(cramjam.snappy.compress_raw(data)), snappy.literal(data)):
        start = len(protobuf.varint(len(data)))
        assert bytes(snappy._decompress(packed, start, len(data))) == data
        assert bytes(snappy.decompress(packed, len(data))) == data
    assert bytes(cramjam.snappy.decompress_raw(snappy.compress(data))) == data


@QUICK
@hypothesis.given(st.binary(max_size=200))
def test_noise_is_refused(noise):
    with contextlib.suppress(snappy.SnappyError):
        assert len(snappy.decompress(noise, 100)) == 100


def test_damage_is_refused():
    for data, size, message in (
        (b"\x02\x04ab", 3, "expected 3 bytes of Snappy, but 4 bytes say that they hold 2"),
        (b"", 0, "0 bytes do not say how many they hold"),
        (b"\x80", 4, "do not say how many they hold"),
        (b"\xe8\x07\x04ab", 1000, "say that they hold 1000"),
        (b"\x03\x04ab", 3, "Snappy"),
    ):
        with pytest.raises(snappy.SnappyError, match=message):
            snappy.decompress(data, size)
    with pytest.raises(snappy.SnappyError, match="a copy begins outside"):
        snappy._decompress(b"\x1a\x01\x00", 0, 7)
