"""The algorithms by name, and configurations from JSON with errors that say what was meant."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple

from ..agents.agent import Agent
from .dqn import DqnConfig, dqn_agent


class Preset(NamedTuple):
    """An algorithm that can be run by name: its configuration class, and what makes the agent from one and the specs."""

    config: type[Any]
    make_agent: Callable[..., Agent]
    description: str


PRESETS: dict[str, Preset] = {
    "DQN": Preset(DqnConfig, dqn_agent, "deep Q-learning; double, n-step and prioritised as options; discrete actions"),
}


def find_preset(name: str) -> Preset:
    """The preset of a name.

    Raises:
      ValueError: there is none; the message has the nearest names.
    """
    if name not in PRESETS:
        raise ValueError(f"no algorithm {name!r}; {nearest(name, PRESETS)}")
    return PRESETS[name]


def make_config(name: str, values: Mapping[str, Any]) -> Any:
    """The configuration of an algorithm, with some of its defaults replaced by `values` as they come from JSON.

    >>> make_config("DQN", {"hidden": [64, 64], "learning_rate": 1}).hidden
    (64, 64)

    Raises:
      ValueError: an unknown key, naming the nearest ones, or a value of another type than the key's.
    """
    cls = find_preset(name).config
    hints = typing.get_type_hints(cls)
    known = {field.name: hints[field.name] for field in dataclasses.fields(cls)}
    for key in values:
        if key not in known:
            raise ValueError(f"config of {name}: no key {key!r}; {nearest(key, known)}")
    return cls(**{key: _convert(key, value, known[key]) for key, value in values.items()})


def to_json(config: Any) -> dict[str, Any]:
    """A configuration as a dict of what JSON can hold; `make_config` takes it back."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in dataclasses.asdict(config).items()}


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error message: "did you mean 'a' or 'b'?", or all the names where none is near."""
    by_lower = {other.lower(): other for other in known}
    near = difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.6)
    near += [other for other in by_lower if name.lower() in other and other not in near][:3]
    if near:
        return f"did you mean {' or '.join(repr(by_lower[other]) for other in near)}?"
    return f"there {'are' if len(by_lower) > 1 else 'is'} {', '.join(by_lower.values())}"


def _convert(key: str, value: Any, hint: Any) -> Any:
    if isinstance(hint, types.UnionType):
        if value is None and type(None) in hint.__args__:
            return None
        return _convert(key, value, next(arg for arg in hint.__args__ if arg is not type(None)))
    origin, expected = typing.get_origin(hint), getattr(hint, "__name__", str(hint))
    if origin is Literal:
        if value in typing.get_args(hint):
            return value
        expected = " or ".join(map(repr, typing.get_args(hint)))
    elif origin is tuple:
        expected = "a list of whole numbers"
        if isinstance(value, list | tuple):
            return tuple(_convert(key, item, typing.get_args(hint)[0]) for item in value)
    elif hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif hint is int and isinstance(value, float) and value.is_integer():
        return int(value)  # 5e4 is a float in JSON
    elif isinstance(value, hint) and isinstance(value, bool) == (hint is bool):
        return value
    expected = {"int": "a whole number", "float": "a number", "bool": "true or false"}.get(expected, expected)
    raise ValueError(f"config {key}: expected {expected}, got {value!r}")
