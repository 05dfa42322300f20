"""As much of protocol buffers as Reverb's messages need: fields to bytes and back.

A tag is a field's number and its kind: 0 a whole number, 1 eight bytes, 2 bytes with their length.
Unknown fields are the reader's to pass over; what is cut off or garbled raises `WireError`.
"""

import struct


class WireError(ValueError):
    """Bytes that are not the message they should be."""


def varint(value: int) -> bytes:
    """A number from 0 to 2^64 - 1; a negative int64 becomes its two's complement."""
    if 0 <= value < 128:
        return _BYTES[value]
    out = bytearray()
    value &= 2**64 - 1
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


_BYTES = [bytes([value]) for value in range(128)]


def integer(number: int, value: int) -> bytes:
    """Field `number` with a whole number; nothing for 0, which is the default."""
    return varint(number << 3) + varint(value) if value else b""


def double(number: int, value: float) -> bytes:
    """Field `number` with a float64."""
    return varint(number << 3 | 1) + struct.pack("<d", value)


def message(number: int, *parts: bytes) -> bytes:
    """Field `number` with a message (its fields), a text or bytes."""
    data = b"".join(parts)
    return b"".join((varint(number << 3 | 2), varint(len(data)), data))


def fields(data: bytes, start: int = 0, end: int | None = None) -> list[tuple[int, int, int]]:
    """Each field of the message `data[start:end]`: (tag, value, 0) of a number, otherwise (tag,
    start, end) of its bytes.

    Raises:
      WireError: the message is cut off, or garbled.
    """
    end = len(data) if end is None else end
    out, at = [], start
    try:
        while at < end:
            tag, at = data[at], at + 1
            if tag > 127:
                tag, at = read_varint(data, at - 1)
            kind = tag & 7
            if kind == 2:
                length, at = data[at], at + 1
                if length > 127:
                    length, at = read_varint(data, at - 1)
                out.append((tag, at, at + length))
                at += length
            elif kind == 0:
                value, at = data[at], at + 1
                if value > 127:
                    value, at = read_varint(data, at - 1)
                out.append((tag, value, 0))
            elif kind == 1 or kind == 5:
                size = 8 if kind == 1 else 4
                out.append((tag, at, at + size))
                at += size
            else:
                raise WireError(f"a field of unknown kind {kind}")
    except IndexError:
        raise WireError("a message is cut off") from None
    if at != end:
        raise WireError("a message is cut off")
    return out


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The number that begins at `at`, and where it ends."""
    value = 0
    for i, byte in enumerate(data[at : at + 10]):
        value |= (byte & 127) << (7 * i)
        if byte < 128:
            return value & 2**64 - 1, at + i + 1
    raise WireError("a number is cut off, or has more than ten bytes")


def signed(value: int) -> int:
    """The int64 that was written as `value`."""
    return value - 2**64 if value >= 2**63 else value


def text(data: bytes, start: int, end: int) -> str:
    """A text field."""
    return data[start:end].decode("utf-8", "replace")


def read_double(data: bytes, start: int) -> float:
    """A float64 field."""
    return struct.unpack_from("<d", data, start)[0]
