"""The part of protocol buffers that Reverb's messages need: fields to bytes and back.

A tag is a field's number and its kind: 0 a whole number, 1 eight bytes, 2 bytes with their length.
Readers ignore unknown fields; a message that is cut off or garbled raises `MessageError`.
"""

import struct

Spans = dict[int, tuple[int, int]]
NO_BYTES = (0, 0)


class MessageError(ValueError):
    """An error in bytes that are not the message they should be."""


def varint(value: int) -> bytes:
    """Returns the bytes of a number below 2^64; a negative int64 is its two's complement."""
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
    """Returns field `number` with a whole number; no bytes for 0, which is the default."""
    return varint(number << 3) + varint(value) if value else b""


def double(number: int, value: float) -> bytes:
    """Returns field `number` with a float64."""
    return varint(number << 3 | 1) + struct.pack("<d", value)


def message(number: int, *parts: bytes) -> bytes:
    """Returns field `number` with a message (its fields), a text or bytes."""
    data = b"".join(parts)
    return b"".join((varint(number << 3 | 2), varint(len(data)), data))


def fields(data: bytes, start: int = 0, end: int | None = None) -> list[tuple[int, int, int]]:
    """Returns each field of the message `data[start:end]`.

    A field is (tag, value, 0) if it is a number, otherwise (tag, start, end) of its bytes.

    Raises:
      MessageError: The message is cut off, or garbled.
    """
    end = len(data) if end is None else end
    out: list[tuple[int, int, int]] = []
    at = start
    try:
        while at < end:
            tag = data[at]
            at += 1
            if tag > 127:
                tag, at = read_varint(data, at - 1)
            kind = tag & 7
            if kind == 2:
                length = data[at]
                at += 1
                if length > 127:
                    length, at = read_varint(data, at - 1)
                out.append((tag, at, at + length))
                at += length
            elif kind == 0:
                value = data[at]
                at += 1
                if value > 127:
                    value, at = read_varint(data, at - 1)
                out.append((tag, value, 0))
            elif kind == 1 or kind == 5:
                size = 8 if kind == 1 else 4
                out.append((tag, at, at + size))
                at += size
            else:
                raise MessageError(f"a field of unknown kind {kind}")
    except IndexError:
        raise MessageError("a message is cut off") from None
    if at != end:
        raise MessageError("a message is cut off")
    return out


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Returns the number that begins at `at`, and the position after it."""
    value = 0
    for i, byte in enumerate(data[at : at + 10]):
        value |= (byte & 127) << (7 * i)
        if byte < 128:
            return value & 2**64 - 1, at + i + 1
    raise MessageError("a number is cut off, or has more than ten bytes")


def spans(data: bytes, start: int = 0, end: int | None = None) -> Spans:
    """Returns the fields of the message `data[start:end]` by tag: (value, 0) or (start, end).

    Of a tag that is repeated, the last field counts. The default of a missing one is `NO_BYTES`: it
    is the number 0, the empty text and the message without fields.

    Raises:
      MessageError: The message is cut off, or garbled.
    """
    return {tag: (first, last) for tag, first, last in fields(data, start, end)}


def read_double(data: bytes, start: int) -> float:
    """Returns the float64 of a field that begins at `start`."""
    return struct.unpack_from("<d", data, start)[0]


def read_text(data: bytes, span: tuple[int, int]) -> str:
    """Returns the text in a field's span."""
    return data[slice(*span)].decode("utf-8", "replace")


def signed(value: int) -> int:
    """Returns the int64 that was written as `value`."""
    return value - 2**64 if value >= 2**63 else value
