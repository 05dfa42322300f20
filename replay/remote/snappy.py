"""Snappy's raw format, in which Reverb compresses every tensor.

The codec is cramjam where it is installed, otherwise plain Python.

Without cramjam nothing is compressed (a literal is legal Snappy, and a server then keeps the bytes
as they are) and what others compressed is unpacked some hundred times slower.
"""

import functools
from collections.abc import Callable
from typing import Any

from .protobuf import MessageError, read_varint, varint

MAX_EXPANSION = 22  # bytes out for each byte in: the longest copy takes three bytes and makes 64


class SnappyError(ValueError):
    """An error in bytes that Snappy did not make."""


@functools.cache
def _cramjam() -> Any:
    try:
        import cramjam
    except ImportError:
        return None
    return cramjam.snappy


def compress(data: bytes) -> bytes:
    """Returns the compressed bytes, or a literal where that is no longer."""
    fast = _cramjam()
    packed = bytes(fast.compress_raw(data)) if fast and len(data) > 32 else None
    return packed if packed is not None and len(packed) < len(data) else literal(data)


def literal(data: bytes) -> bytes:
    """Returns `data` as Snappy that compresses nothing."""
    if not data:
        return b"\0"
    last = len(data) - 1
    tag = bytes([last << 2]) if last < 60 else b"\xfc" + last.to_bytes(4, "little")
    return varint(len(data)) + tag + data


def decompress(data: bytes, size: int) -> Any:
    """Returns the `size` bytes that were compressed, as an object with a buffer.

    Raises:
      SnappyError: `data` is damaged, or holds another number of bytes.
    """
    try:
        claimed, start = read_varint(data, 0)
    except MessageError as error:
        raise SnappyError(f"{len(data)} bytes do not say how many they hold: {error}") from error
    if claimed != size or size > MAX_EXPANSION * len(data):  # before anything is allocated
        raise SnappyError(
            f"expected {size} bytes of Snappy, but {len(data)} bytes say that they hold {claimed}"
        )
    fast = _cramjam()
    unpack: Callable[..., Any] = fast.decompress_raw if fast else _decompress
    try:
        out = unpack(data) if fast else unpack(data, start, size)
    except Exception as error:
        raise SnappyError(f"{len(data)} bytes are not Snappy's ({error})") from error
    if len(out) != size:
        raise SnappyError(f"expected {size} bytes of Snappy, got {len(out)}")
    return out


def _decompress(data: bytes, at: int, size: int) -> bytearray:
    """Unpacks the elements that begin at `at`: literals, and copies of what is already unpacked."""
    out = bytearray()
    while at < len(data):
        tag = data[at]
        at += 1
        if tag & 3 == 0:
            length = (tag >> 2) + 1
            extra = max(0, (tag >> 2) - 59)
            if extra:
                length = int.from_bytes(data[at : at + extra], "little") + 1
            at += extra + length
            if at > len(data):
                raise SnappyError("a literal is cut off")
            out += data[at - length : at]
        else:
            extra = (1, 2, 4)[(tag & 3) - 1]
            offset = int.from_bytes(data[at : at + extra], "little")
            length = (tag >> 2) + 1
            if extra == 1:
                length = 4 + (tag >> 2 & 7)
                offset = offset | tag >> 5 << 8
            at += extra
            if at > len(data) or not 0 < offset <= len(out):
                raise SnappyError("a copy begins outside")
            begin = len(out) - offset
            seen = out[begin : begin + length]
            out += (seen * (length // len(seen) + 1))[:length]
        if len(out) > size:
            raise SnappyError("it holds more than it says")
    return out
