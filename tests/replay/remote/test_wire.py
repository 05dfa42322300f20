"""The codec, without a server: round trips, hand-worked bytes, and messages that are cut off or
garbled.
"""

import contextlib

import hypothesis
import ml_dtypes
import numpy as np
import pytest
from hypothesis import strategies as st

from jax_agents.replay.remote import protobuf, samples, snappy, wire

cramjam = pytest.importorskip("cramjam")
QUICK = hypothesis.settings(max_examples=60, deadline=None)
DTYPES = [
    np.uint8,
    np.int32,
    np.int64,
    np.uint64,
    np.float16,
    np.float32,
    np.float64,
    np.bool_,
    ml_dtypes.bfloat16,
]


def sample_answer(chunks, item, probability=0.25, table_size=4):
    """What a server sends for one item."""
    info = (
        protobuf.message(1, item)
        + protobuf.double(2, probability)
        + protobuf.integer(3, table_size)
    )
    entry = (
        protobuf.message(1, info)
        + b"".join(protobuf.message(2, c.data) for c in chunks)
        + protobuf.integer(3, 1)
    )
    return protobuf.message(1, entry)


def two_chunks(delta=False):
    columns = [np.arange(24, dtype=np.int32).reshape(4, 2, 3), np.arange(4, dtype=np.float32)]
    first = wire.encode_chunk(7, 1, 0, [c[:3] for c in columns], delta)
    second = wire.encode_chunk(2**64 - 1, 1, 3, [c[3:] for c in columns], delta)
    slices = [
        ([wire.ChunkSlice(7, 1, 2, i), wire.ChunkSlice(2**64 - 1, 0, 1, i)], False)
        for i in range(2)
    ]
    item = wire.encode_item(2**63 + 5, "t", 1.5, [*slices, ([wire.ChunkSlice(7, 0, 1, 1)], True)])
    return columns, sample_answer([first, second], item)


def test_bytes_worked_by_hand():
    assert protobuf.varint(300) == b"\xac\x02"
    assert protobuf.varint(2**64 - 1) == b"\xff" * 9 + b"\x01"
    assert protobuf.integer(1, 150) == b"\x08\x96\x01"
    assert protobuf.message(2, b"testing") == b"\x12\x07testing"
    assert protobuf.fields(b"\x12\x07testing\x08\x96\x01") == [(18, 2, 9), (8, 150, 0)]
    assert protobuf.signed(2**64 - 1) == -1
    assert snappy.literal(b"ab") == b"\x02\x04ab"
    assert (
        snappy._decompress(b"\x08\x00a\x1a\x01\x00", 1, 8) == b"aaaaaaaa"
    )  # an a, and a copy of 7 from 1 back


@pytest.mark.parametrize("delta", [False, True])
def test_an_item_of_two_chunks(delta):
    columns, answer = two_chunks(delta)
    (item,) = samples.SampleDecoder().feed(answer)
    assert item.info == (2**63 + 5, 0.25, 4, 1.5, 0)
    whole, scalars, one = item.arrays()
    np.testing.assert_array_equal(whole, columns[0][1:])
    np.testing.assert_array_equal(scalars, columns[1][1:])
    assert one.shape == () and one == 0
    batch = samples.stack([item, item])
    assert batch[0].shape == (2, 3, 2, 3)
    assert batch[0].flags.writeable


def test_small_chunks_are_read_once_and_the_oldest_is_forgotten(monkeypatch):
    def answer(key, rows):
        chunk = wire.encode_chunk(key, 1, 0, [np.full((rows, 16), key, np.float32)])
        return sample_answer(
            [chunk], wire.encode_item(9, "t", 1.0, [([wire.ChunkSlice(key, 0, rows, 0)], False)])
        )

    unpacked = []
    decompress = snappy.decompress
    monkeypatch.setattr(
        snappy, "decompress", lambda data, size: unpacked.append(size) or decompress(data, size)
    )
    monkeypatch.setattr(samples, "KEPT_CHUNKS", 2)
    decoder = samples.SampleDecoder()
    for key, rows in [
        (1, 2),
        (2, 2),
        (1, 2),
        (2, 2),
        (3, 2),
        (3, 2),
        (2, 2),
        (1, 2),
        (4, 99),
        (4, 99),
    ]:
        (item,) = decoder.feed(answer(key, rows))
        np.testing.assert_array_equal(item.arrays()[0], np.full((rows, 16), key, np.float32))
    assert unpacked == [
        128,
        128,
        128,
        128,
        6336,
        6336,
    ]  # 1, 2, 3, 1 again, and 4, which is too large to be kept, twice


@QUICK
@hypothesis.given(st.data())
def test_chunks_of_every_kind_come_back(data):
    dtype = np.dtype(data.draw(st.sampled_from(DTYPES)))
    shape = tuple(data.draw(st.lists(st.integers(0, 4), max_size=3)))
    rows = data.draw(st.integers(1, 5))
    size = rows * int(np.prod(shape)) * dtype.itemsize
    raw = data.draw(st.binary(min_size=size, max_size=size))
    column = np.frombuffer(bytes(b & 1 for b in raw) if dtype.kind == "b" else raw, dtype).reshape(
        rows, *shape
    )
    chunk = wire.encode_chunk(3, 1, 0, [column], data.draw(st.booleans()))
    item = wire.encode_item(9, "t", 1.0, [([wire.ChunkSlice(3, 0, rows, 0)], False)])
    (decoded,) = samples.SampleDecoder().feed(sample_answer([chunk], item))
    (array,) = decoded.arrays()
    assert (array.dtype, array.shape, array.tobytes()) == (dtype, column.shape, column.tobytes())


@QUICK
@hypothesis.given(st.binary(max_size=400), st.integers(1, 20))
def test_snappy_in_python_and_by_cramjam_agree(data, times):
    data = data * times
    for packed in (bytes(cramjam.snappy.compress_raw(data)), snappy.literal(data)):
        start = len(protobuf.varint(len(data)))
        assert bytes(snappy._decompress(packed, start, len(data))) == data
        assert bytes(snappy.decompress(packed, len(data))) == data
    assert bytes(cramjam.snappy.decompress_raw(snappy.compress(data))) == data


def test_every_cut_is_noticed():
    _, answer = two_chunks()
    for end in range(1, len(answer)):
        with pytest.raises(protobuf.MessageError):
            samples.SampleDecoder().feed(answer[:end])


@hypothesis.settings(max_examples=300, deadline=None)
@hypothesis.given(st.data())
def test_garbled_answers_are_read_or_refused(data):
    _, answer = two_chunks()
    garbled = bytearray(answer)
    for _ in range(data.draw(st.integers(1, 4))):
        garbled[data.draw(st.integers(0, len(garbled) - 1))] = data.draw(st.integers(0, 255))
    for decode in (
        lambda x: [item.arrays() for item in samples.SampleDecoder().feed(x)],
        wire.decode_tables,
        wire.decode_keys,
    ):
        with contextlib.suppress(protobuf.MessageError):
            decode(bytes(garbled))


@QUICK
@hypothesis.given(st.binary(max_size=200))
def test_noise_is_refused_or_empty(noise):
    for decode in (
        samples.SampleDecoder().feed,
        wire.decode_tables,
        wire.decode_keys,
        wire.decode_path,
    ):
        with contextlib.suppress(protobuf.MessageError):
            decode(noise)
    with contextlib.suppress(snappy.SnappyError):
        snappy.decompress(noise, 100)


def test_a_dtype_that_reverb_does_not_have():
    with pytest.raises(TypeError, match="no column of dtype <U1"):
        wire.encode_chunk(1, 1, 0, [np.array(["a"])])
