"""The types and ranges of settings, and the messages for values and names that do not fit."""

import contextlib
import dataclasses
import difflib
import functools
import math
import types
import typing
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal


@dataclasses.dataclass(frozen=True)
class Range:
    """The values that a setting may have; it stands in the annotation of its field.

    Attributes:
      expected: Description of the values, for messages.
      holds: Function that is true for a value in the range.
    """

    expected: str
    holds: Callable[[Any], bool]


Count = Annotated[int, Range("at least 1", lambda x: x >= 1)]
CountFromZero = Annotated[int, Range("at least 0", lambda x: x >= 0)]
Limit = Annotated[int, Range("at least 1, or -1 for no limit", lambda x: x >= 1 or x == -1)]
Positive = Annotated[float, Range("a positive number", lambda x: x > 0)]
NotNegative = Annotated[float, Range("0 or more", lambda x: x >= 0)]
Fraction = Annotated[float, Range("a number from 0 to 1", lambda x: 0 <= x <= 1)]
Sizes = Annotated[tuple[int, ...], Range("sizes of at least 1", lambda x: min(x, default=1) >= 1)]


def check_values(config: Any) -> None:
    """Checks that a configuration's values are of their types, and in their ranges.

    A list becomes a tuple, and 5e4 the integer that it is. Numbers that are traced, and arrays, are
    not looked at.

    Raises:
      ValueError: naming the setting, what was expected and what was given.
    """
    kind: Any = type(config)
    hints = _hints(kind)
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value is None or isinstance(value, str | int | float | list | tuple):
            object.__setattr__(config, field.name, convert(field.name, value, hints[field.name]))


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    """The annotations of a class, those that are texts (`from __future__`) evaluated."""
    return typing.get_type_hints(kind, include_extras=True)


def convert(key: str, value: Any, hint: Any) -> Any:
    """A setting's value, as it may come from JSON or a user, as the type that its field has.

    Args:
      key: Name of the setting, for the message.
      value: Value that was given.
      hint: Annotation of the field.

    Raises:
      ValueError: if it is of another type, or out of its range.
    """
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        parts = [part for part in typing.get_args(hint) if part is not type(None)]
        for part in parts[:-1]:
            with contextlib.suppress(ValueError):
                return convert(key, value, part)
        return convert(key, value, parts[-1])
    if origin is Annotated:
        kind, limits = typing.get_args(hint)
        value = convert(key, value, kind)
        if not limits.holds(value):
            shown = list(value) if isinstance(value, tuple) else value
            raise ValueError(f"config {key}: expected {limits.expected}, got {shown}")
        return value
    if origin not in (None, Literal, tuple):
        return value  # an annotation that is not for settings, and is not looked at
    expected = _EXPECTED.get(hint, getattr(hint, "__name__", str(hint)))
    if origin is Literal:
        if value in typing.get_args(hint):
            return value
        expected = " or ".join(map(repr, typing.get_args(hint)))
    elif origin is tuple:
        item = typing.get_args(hint)[0]
        if isinstance(value, list | tuple):
            return tuple(convert(key, part, item) for part in value)
        expected = f"a list of {'whole ' if item is int else ''}numbers"
    elif hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise ValueError(f"config {key}: expected a finite number, got {value}")
        return float(value)
    elif hint is int and isinstance(value, float) and value.is_integer():
        return int(value)  # 5e4 is a float in JSON
    elif (
        isinstance(hint, type)
        and isinstance(value, hint)
        and isinstance(value, bool) == (hint is bool)
    ):
        return value
    raise ValueError(f"config {key}: expected {expected}, got {value!r}")


_EXPECTED = {int: "a whole number", float: "a number", bool: "true or false"}


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the names that are near, or all there are."""
    by_lower = {other.lower(): other for other in known}
    near = difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.6)
    near += [other for other in by_lower if name.lower() in other and other not in near][:3]
    if near:
        return f"did you mean {' or '.join(repr(by_lower[other]) for other in near)}?"
    return f"there {'are' if len(by_lower) > 1 else 'is'} {', '.join(by_lower.values())}"
