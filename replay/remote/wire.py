"""Reverb's messages as bytes: a client's requests, and the short answers.

`samples.py` reads the long answers.

The codec is written by hand, so that a client needs no TensorFlow, and no protobuf whose version
could clash with TensorFlow's. Field numbers are those of `reverb_service.proto` and `schema.proto`,
the same from Reverb 0.7 to its newest source.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import ml_dtypes
import numpy as np

from . import snappy
from .protobuf import (
    NO_BYTES,
    MessageError,
    Spans,
    double,
    fields,
    integer,
    message,
    read_double,
    read_text,
    read_varint,
    signed,
    spans,
    varint,
)

CODES = {  # tensorflow.DataType
    np.dtype(dtype): code
    for dtype, code in (
        (np.float32, 1),
        (np.float64, 2),
        (np.int32, 3),
        (np.uint8, 4),
        (np.int16, 5),
        (np.int8, 6),
        (np.complex64, 8),
        (np.int64, 9),
        (np.bool_, 10),
        (ml_dtypes.bfloat16, 14),
        (np.uint16, 17),
        (np.complex128, 18),
        (np.float16, 19),
        (np.uint32, 22),
        (np.uint64, 23),
    )
}
DTYPES = {code: dtype for dtype, code in CODES.items()}


class Chunk(NamedTuple):
    """Consecutive rows of some columns, encoded: what items refer to."""

    key: int
    rows: int
    data: bytes


class ChunkSlice(NamedTuple):
    """`length` rows from `offset` on of the column `column` of the chunk `key`."""

    key: int
    offset: int
    length: int
    column: int


class TableInfo(NamedTuple):
    """A server's description of a table.

    Its `signature` is the (dtype, shape) of each column by its path, or None.
    """

    name: str
    sampler: str
    priority_exponent: float | None
    max_size: int
    current_size: int
    max_times_sampled: int
    min_size: int
    samples_per_insert: float
    min_diff: float
    max_diff: float
    inserts: int
    samples: int
    signature: dict[str, tuple[np.dtype, tuple[int, ...]]] | None


# -- A client's requests


def encode_chunk(
    key: int, episode: int, start: int, columns: Sequence[np.ndarray], delta: bool = False
) -> Chunk:
    """Returns a chunk of columns `[rows, *shape]`; its first row is number `start` of its episode.

    With `delta`, integers of rank 2 or more are stored as differences of consecutive rows.

    Raises:
      TypeError: TensorFlow does not have a column's dtype.
    """
    rows = len(columns[0])
    tensors: list[bytes] = []
    size = 0
    for column in columns:
        if column.dtype not in CODES:
            raise TypeError(
                f"Reverb has no column of dtype {column.dtype}; it takes "
                f"{', '.join(map(str, CODES))}"
            )
        size += column.nbytes
        if delta and column.ndim >= 2 and column.dtype.kind in "iu":
            column = np.concatenate([column[:1], column[1:] - column[:-1]])
        shape = b"".join(message(2, integer(1, n)) for n in column.shape)
        tensors.append(
            message(
                1,
                integer(1, CODES[column.dtype]),
                message(2, shape),
                message(4, snappy.compress(column.tobytes())),
            )
        )
    return Chunk(
        key,
        rows,
        b"".join((
            integer(1, key),
            message(2, integer(1, episode), integer(2, start), integer(3, start + rows - 1)),
            integer(4, delta),
            message(5, *tensors),
            integer(6, len(tensors)),
            integer(7, size),
        )),
    )  # fmt: skip


def encode_item(
    key: int, table: str, priority: float, columns: Iterable[tuple[Sequence[ChunkSlice], bool]]
) -> bytes:
    """Returns an item of columns: the slices that are joined, and True to squeeze the one row."""
    trajectory = [
        message(
            1,
            *(
                message(
                    1,
                    integer(1, s.key),
                    integer(2, s.offset),
                    integer(3, s.length),
                    integer(4, s.column),
                )
                for s in slices
            ),
            integer(2, squeeze),
        )
        for slices, squeeze in columns
    ]
    return b"".join(
        (integer(1, key), message(2, table.encode()), double(5, priority), message(8, *trajectory))
    )


def encode_insert(chunks: Iterable[Chunk], items: Iterable[bytes], keep: Iterable[int]) -> bytes:
    """Returns a request that adds chunks, and items that refer to them and to those kept.

    Args:
      chunks: Chunks to add.
      items: Encoded items to add.
      keep: Keys of the chunks that the server has to keep for later items.
    """
    parts = [message(1, chunk.data) for chunk in chunks] + [message(2, item) for item in items]
    return b"".join((*parts, message(3, *map(varint, keep))))


def encode_sample_request(table: str, num_samples: int, timeout_ms: int) -> bytes:
    """Returns a request for samples; the server ends the stream after `timeout_ms` without one."""
    return message(1, table.encode()) + integer(2, num_samples) + message(3, integer(1, timeout_ms))


def encode_mutation(
    table: str, updates: Iterable[tuple[int, float]], deletes: Iterable[int]
) -> bytes:
    """Returns a request to set priorities, by key, and to delete items."""
    parts = [message(2, integer(1, key), double(2, priority)) for key, priority in updates]
    return b"".join((message(1, table.encode()), *parts, message(3, *map(varint, deletes))))


def encode_reset(table: str) -> bytes:
    """Returns a request to empty a table."""
    return message(1, table.encode())


# -- A server's answers


def decode_keys(data: bytes) -> list[int]:
    """Returns the keys of the items that a server confirms."""
    keys = []
    for tag, start, end in fields(data):
        if tag == 8:
            keys.append(start)
        while tag == 10 and start < end:
            key, start = read_varint(data[:end], start)
            keys.append(key)
    return keys


def decode_path(data: bytes) -> str:
    """Returns the path to which a server has written a checkpoint."""
    return read_text(data, spans(data).get(10, NO_BYTES))


def decode_tables(data: bytes) -> dict[str, TableInfo]:
    """Returns the tables of a server, by name."""
    tables = (_table(data, start, end) for tag, start, end in fields(data) if tag == 18)
    return {table.name: table for table in tables}


_SAMPLERS = {8: "fifo", 16: "uniform", 26: "prioritized", 34: "heap", 48: "lifo"}


def _table(data: bytes, start: int, end: int) -> TableInfo:
    table = spans(data, start, end)
    sampler = spans(data, *table.get(10, NO_BYTES))
    limiter = spans(data, *table.get(42, NO_BYTES))
    prioritized = spans(data, *sampler.get(26, NO_BYTES))
    inserts = spans(data, *limiter.get(42, NO_BYTES))
    samples = spans(data, *limiter.get(50, NO_BYTES))
    signature: dict[str, tuple[np.dtype, tuple[int, ...]]] = {}
    _add_signature(data, table.get(50, NO_BYTES), "", signature)
    return TableInfo(
        name=read_text(data, table.get(66, NO_BYTES)),
        sampler=next((name for tag, name in _SAMPLERS.items() if tag in sampler), ""),
        priority_exponent=_double(data, prioritized, 9) if 26 in sampler else None,
        max_size=signed(table.get(24, NO_BYTES)[0]),
        current_size=signed(table.get(56, NO_BYTES)[0]),
        max_times_sampled=signed(table.get(32, NO_BYTES)[0]),
        min_size=signed(limiter.get(32, NO_BYTES)[0]),
        samples_per_insert=_double(data, limiter, 9),
        min_diff=_double(data, limiter, 17),
        max_diff=_double(data, limiter, 25),
        inserts=inserts.get(16, NO_BYTES)[0],
        samples=samples.get(16, NO_BYTES)[0],
        signature=signature if 50 in table else None,
    )


def _double(data: bytes, message: Spans, tag: int) -> float:
    return read_double(data, message[tag][0]) if tag in message else 0.0


def _add_signature(
    data: bytes,
    span: tuple[int, int],
    path: str,
    out: dict[str, tuple[np.dtype, tuple[int, ...]]],
    depth: int = 0,
) -> None:
    """Adds the columns of a `tensorflow.StructuredValue` to `out`.

    Those of a dict are in the order of their names.
    """
    if depth > 50:
        raise MessageError("a signature of more than 50 levels")
    children: list[tuple[str, tuple[int, int]]] = []
    for tag, begin, stop in fields(data, *span):
        if tag in (266, 282):  # a tensor, and one with bounds
            spec = spans(data, begin, stop)
            code, _ = spec.get(24, NO_BYTES)
            if code not in DTYPES:
                raise MessageError(
                    f"column {path!r} has TensorFlow's type {code}, which NumPy does not have"
                )
            out[path] = DTYPES[code], decode_shape(data[slice(*spec.get(18, NO_BYTES))])
        elif tag in (410, 418):  # a list, a tuple
            parts = [part for part in fields(data, begin, stop) if part[0] == 10]
            children = [(str(i), (first, last)) for i, (_, first, last) in enumerate(parts)]
        elif tag in (426, 434):  # a dict, a named tuple
            wanted = 10 if tag == 426 else 18
            entries = [
                spans(data, first, last)
                for tag, first, last in fields(data, begin, stop)
                if tag == wanted
            ]
            children = [
                (read_text(data, entry.get(10, NO_BYTES)), entry.get(18, NO_BYTES))
                for entry in entries
            ]
            if wanted == 10:
                children.sort()
    for name, child in children:
        _add_signature(data, child, f"{path}/{name}".lstrip("/"), out, depth + 1)


def decode_shape(data: bytes) -> tuple[int, ...]:
    """Returns the shape in a `tensorflow.TensorShapeProto`; an unknown length is -1."""
    sizes = (spans(data, start, end) for tag, start, end in fields(data) if tag == 18)
    return tuple(signed(size.get(8, NO_BYTES)[0]) for size in sizes)
