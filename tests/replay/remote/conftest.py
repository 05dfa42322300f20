"""Answers of a server, made by hand, for the tests of what reads them."""

import numpy as np
import pytest

from jax_agents.replay.remote import protobuf, wire


@pytest.fixture
def sample_answer():
    """Makes what a server sends for one item."""

    def sample_answer(chunks, item, probability=0.25, table_size=4):
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

    return sample_answer


@pytest.fixture
def two_chunks(sample_answer):
    """Makes two columns, and the answer with an item of the rows 1 to 3, spread over two chunks."""

    def two_chunks(delta=False):
        columns = [np.arange(24, dtype=np.int32).reshape(4, 2, 3), np.arange(4, dtype=np.float32)]
        first = wire.encode_chunk(7, 1, 0, [c[:3] for c in columns], delta)
        second = wire.encode_chunk(2**64 - 1, 1, 3, [c[3:] for c in columns], delta)
        slices = [
            ([wire.ChunkSlice(7, 1, 2, i), wire.ChunkSlice(2**64 - 1, 0, 1, i)], False)
            for i in range(2)
        ]
        item = wire.encode_item(
            2**63 + 5, "t", 1.5, [*slices, ([wire.ChunkSlice(7, 0, 1, 1)], True)]
        )
        return columns, sample_answer([first, second], item)

    return two_chunks
