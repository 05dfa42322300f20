"""Sampled items, read from answers that were made by hand, cut off and garbled."""

import contextlib

import hypothesis
import ml_dtypes
import numpy as np
import pytest
from hypothesis import strategies as st

from jax_agents.replay.remote import protobuf, samples, snappy, wire

QUICK = hypothesis.settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
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


@pytest.mark.parametrize("delta", [False, True])
def test_an_item_of_two_chunks(two_chunks, delta):
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


def test_small_chunks_are_read_once_and_the_oldest_is_forgotten(sample_answer, monkeypatch):
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
    # 1, 2, 3, 1 again, and 4, which is too large to be kept, twice
    assert unpacked == [
        128,
        128,
        128,
        128,
        6336,
        6336,
    ]


@QUICK
@hypothesis.given(st.data())
def test_chunks_of_every_kind_come_back(sample_answer, data):
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


def test_every_cut_is_noticed(two_chunks):
    _, answer = two_chunks()
    for end in range(1, len(answer)):
        with pytest.raises(protobuf.MessageError):
            samples.SampleDecoder().feed(answer[:end])


@hypothesis.settings(QUICK, max_examples=300)
@hypothesis.given(st.data())
def test_garbled_answers_are_read_or_refused(two_chunks, data):
    _, answer = two_chunks()
    garbled = bytearray(answer)
    for _ in range(data.draw(st.integers(1, 4))):
        garbled[data.draw(st.integers(0, len(garbled) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(protobuf.MessageError):
        for item in samples.SampleDecoder().feed(bytes(garbled)):
            item.arrays()


@QUICK
@hypothesis.given(st.binary(max_size=200))
def test_noise_is_refused_or_empty(noise):
    with contextlib.suppress(protobuf.MessageError):
        assert samples.SampleDecoder().feed(noise) == []


def test_items_of_other_columns_are_not_one_batch(two_chunks):
    (item,) = samples.SampleDecoder().feed(two_chunks()[1])
    other = item._replace(columns=[item.columns[0]._replace(rows=2), *item.columns[1:]])
    with pytest.raises(protobuf.MessageError, match="items of one table differ"):
        samples.stack([item, other])
