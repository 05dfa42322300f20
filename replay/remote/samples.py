"""Sampled items, read from the answers of a Reverb server.

A server sends each item with all the chunks that it refers to, whole. Here an item's columns stay
pieces of the bytes that came, and a batch is made of them by one copy (`stack`). Small chunks come
again and again, with each item that has rows in them; they are known by their bytes and read once.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ...envs.types import SampleInfo
from . import snappy
from .protobuf import MessageError, fields, read_double
from .wire import DTYPES, ChunkSlice, decode_shape

KEPT_CHUNKS = 8192  # the number of chunks that are kept in case they come again
KEPT_BYTES = 4096  # the most bytes of such a chunk


class Column(NamedTuple):
    """One column of a sampled item: `rows` of `shape`, in pieces.

    With `squeeze`, its one row is meant without a time axis.
    """

    dtype: np.dtype
    shape: tuple[int, ...]
    rows: int
    squeeze: bool
    parts: list[Any]


class Item(NamedTuple):
    """A sampled trajectory."""

    info: SampleInfo
    columns: list[Column]

    def arrays(self) -> list[np.ndarray]:
        """Returns each column as an array `[T, *shape]`, or `[*shape]` where it is squeezed."""
        return [column[0] for column in stack([self])]


def stack(items: Sequence[Item]) -> list[np.ndarray]:
    """Returns the columns of alike items as new arrays `[B, T, *shape]`.

    Squeezed columns lack the T.

    Raises:
      MessageError: The items differ in a column's dtype or shape.
    """
    out = []
    for columns in zip(*(item.columns for item in items), strict=True):
        head = columns[0][:4]
        if any(column[:4] != head for column in columns):
            raise MessageError(
                f"items of one table differ: {sorted({str(column[:4]) for column in columns})}"
            )
        dtype, shape, rows, squeeze = head
        joined = bytearray().join([part for column in columns for part in column.parts])
        out.append(
            np.frombuffer(joined, dtype).reshape(len(items), *(() if squeeze else (rows,)), *shape)
        )
    return out


class SampleDecoder:
    """Reads items from the answers of one stream; a large item is spread over several."""

    def __init__(self) -> None:
        self._info: tuple[SampleInfo, list[tuple[list[ChunkSlice], bool]]] | None = None
        self._chunks: dict[int, _RawChunk] = {}
        self._kept: dict[bytes, _RawChunk] = {}

    def feed(self, data: bytes) -> list[Item]:
        """Returns the items that are complete with this answer.

        Raises:
          MessageError: The answer is cut off or garbled.
        """
        items = []
        try:
            for tag, start, end in fields(data):
                if tag != 10:
                    continue
                complete = 0
                for tag, first, last in fields(data, start, end):
                    if tag == 18:
                        chunk = self._chunk(data[first:last])
                        self._chunks[chunk.key] = chunk
                    elif tag == 10:
                        self._info = _decode_info(data, first, last)
                    elif tag == 24:
                        complete = first
                if complete:
                    items.append(self._item())
        except IndexError:
            raise MessageError("a sample is cut off") from None
        return items

    def _chunk(self, data: bytes) -> "_RawChunk":
        chunk = self._kept.get(data) if len(data) <= KEPT_BYTES else None
        if chunk is None:
            chunk = _RawChunk(data)
            if len(data) + chunk.size <= KEPT_BYTES:
                self._kept[data] = chunk
                if len(self._kept) > KEPT_CHUNKS:
                    del self._kept[next(iter(self._kept))]  # the oldest
        return chunk

    def _item(self) -> Item:
        if self._info is None:
            raise MessageError("a sample without its info")
        info, columns = self._info
        chunks = self._chunks
        self._info = None
        self._chunks = {}
        return Item(info, [_column(slices, squeeze, chunks) for slices, squeeze in columns])


class _RawChunk:
    """A chunk whose tensors are unpacked when an item refers to them."""

    def __init__(self, data: bytes):
        self.key = 0
        self._data = data
        self._delta = False
        self._tensors: list[tuple[int, int]] = []
        self.size = snappy.MAX_EXPANSION * len(data)  # unpacked, if it does not say
        self._unpacked: dict[int, tuple[np.dtype, tuple[int, ...], Any]] = {}
        for tag, start, end in fields(data):
            if tag == 8:
                self.key = start
            elif tag == 32:
                self._delta = bool(start)
            elif tag == 42:
                self._tensors = [
                    (start, end) for tag, start, end in fields(data, start, end) if tag == 10
                ]
            elif tag == 56:
                self.size = start

    def tensor(self, index: int) -> tuple[np.dtype, tuple[int, ...], Any]:
        """Returns the dtype, the shape `[rows, ...]` and the bytes of a column."""
        if index not in self._unpacked:
            if not 0 <= index < len(self._tensors):
                raise MessageError(f"a chunk of {len(self._tensors)} columns has no column {index}")
            self._unpacked[index] = self._unpack(*self._tensors[index])
        return self._unpacked[index]

    def _unpack(self, start: int, end: int) -> tuple[np.dtype, tuple[int, ...], Any]:
        data = self._data
        code = 0
        shape = b""
        content = b""
        for tag, first, last in fields(data, start, end):
            if tag == 8:
                code = first
            elif tag == 18:
                shape = data[first:last]
            elif tag == 34:
                content = data[first:last]
        dtype, dims, size = _layout(code, shape)
        try:
            unpacked = memoryview(snappy.decompress(content, size))
        except snappy.SnappyError as error:
            raise MessageError(f"a column {dtype}{list(dims)}: {error}") from error
        if self._delta and len(dims) >= 2 and size and dtype.kind in "iu":
            unpacked = memoryview(
                np.cumsum(np.frombuffer(unpacked, dtype).reshape(dims), axis=0, dtype=dtype)
            ).cast("B")
        return dtype, dims, unpacked


@functools.lru_cache(maxsize=1024)
def _layout(code: int, shape: bytes) -> tuple[np.dtype, tuple[int, ...], int]:
    """Returns dtype, shape and bytes of a tensor of TensorFlow's type code and encoded shape."""
    dims = decode_shape(shape)
    if code not in DTYPES:
        raise MessageError(f"a column of TensorFlow's type {code}, which NumPy does not have")
    if not dims or min(dims) < 0:
        raise MessageError(f"a column of shape {dims}")
    return DTYPES[code], dims, math.prod(dims) * DTYPES[code].itemsize


def _column(slices: list[ChunkSlice], squeeze: bool, chunks: dict[int, _RawChunk]) -> Column:
    first: tuple[np.dtype, tuple[int, ...]] | None = None
    rows = 0
    parts: list[Any] = []
    for key, offset, length, index in slices:
        if key not in chunks:
            raise MessageError(f"an item refers to chunk {key}, which did not come with it")
        dtype, dims, data = chunks[key].tensor(index)
        if not 0 <= offset < offset + length <= dims[0]:
            raise MessageError(
                f"an item refers to rows {offset} to {offset + length} of a chunk of {dims[0]}"
            )
        first = first or (dtype, dims[1:])
        if first != (dtype, dims[1:]):
            raise MessageError(
                f"a column of {first[0]}{list(first[1])} goes on as {dtype}{list(dims[1:])}"
            )
        size = len(data) // dims[0]
        parts.append(data[offset * size : (offset + length) * size])
        rows += length
    if first is None or (squeeze and rows != 1):
        raise MessageError(f"a column of {rows} rows")
    return Column(*first, rows, squeeze, parts)


def _decode_info(
    data: bytes, start: int, end: int
) -> tuple[SampleInfo, list[tuple[list[ChunkSlice], bool]]]:
    key = 0
    priority = 0.0
    times_sampled = 0
    probability = 0.0
    table_size = 0
    columns = []
    for tag, first, last in fields(data, start, end):
        if tag == 17:
            probability = read_double(data, first)
        elif tag == 24:
            table_size = first
        elif tag == 10:
            for item_tag, value, stop in fields(data, first, last):
                if item_tag == 8:
                    key = value
                elif item_tag == 41:
                    priority = read_double(data, value)
                elif item_tag == 48:
                    times_sampled = value
                elif item_tag == 66:
                    columns = [
                        _decode_column(data, begin, end)
                        for tag, begin, end in fields(data, value, stop)
                        if tag == 10
                    ]
    return SampleInfo(key, probability, table_size, priority, times_sampled), columns


def _decode_column(data: bytes, start: int, end: int) -> tuple[list[ChunkSlice], bool]:
    slices: list[ChunkSlice] = []
    squeeze = False
    for tag, first, last in fields(data, start, end):
        if tag == 10:
            key = offset = length = column = 0
            for slice_tag, value, _ in fields(data, first, last):
                if slice_tag == 8:
                    key = value
                elif slice_tag == 16:
                    offset = value
                elif slice_tag == 24:
                    length = value
                elif slice_tag == 32:
                    column = value
            slices.append(ChunkSlice(key, offset, length, column))
        elif tag == 16:
            squeeze = bool(first)
    return slices, squeeze
