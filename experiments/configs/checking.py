"""Checks of a configuration's values, and what errors say of names that are unknown."""

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterable
from typing import Any, Literal


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error message: "did you mean 'a' or 'b'?", or all the names where none is
    near.
    """
    by_lower = {other.lower(): other for other in known}
    near = difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.6)
    near += [other for other in by_lower if name.lower() in other and other not in near][:3]
    if near:
        return f"did you mean {' or '.join(repr(by_lower[other]) for other in near)}?"
    return f"there {'are' if len(by_lower) > 1 else 'is'} {', '.join(by_lower.values())}"


_POSITIVE = {
    "learning_rate",
    "optimizer_eps",
    "max_grad_norm",
    "priority_exponent",
    "kl_target",
    "clip_ratio",
    "value_clip",
    "sigma",
    "temperature",
}


_NOT_NEGATIVE = {
    "learning_rate_end",
    "learning_rate_decay",
    "importance_exponent",
    "noisy_sigma",
    "huber_param",
}
_NOT_NEGATIVE |= {
    "clip_ratio_end",
    "initial_kl_beta",
    "value_coefficient",
    "sigma_end",
    "sigma_decay",
}
_NOT_NEGATIVE |= {"exploration_noise", "exploration_damping", "target_noise", "target_noise_clip"}
_FRACTIONS = {"gamma", "lambda_", "epsilon_start", "epsilon_end", "tau"}


_MAY_BE_ZERO = {"burn_in", "policy_lag"}


def check_values(config: Any) -> None:
    """Raises a ValueError unless a configuration's values are of their types, and its numbers in
    their ranges.

    A list becomes a tuple, 5e4 the integer that it is. Numbers that are traced, and arrays, are let
    through.
    """
    for field in dataclasses.fields(config):
        name, value = field.name, getattr(config, field.name)
        if value is None or isinstance(value, str | int | float | list | tuple):
            value = convert(name, value, field.type)
            object.__setattr__(config, name, value)
        if name == "max_episode_steps" and value == -1:  # no limit
            continue
        if (
            isinstance(value, int)
            and not isinstance(value, bool)
            and field.type in (int, int | None)
        ):
            least = 0 if name in _MAY_BE_ZERO else 1
            if value < least:
                raise ValueError(f"config {name}: expected at least {least}, got {value}")
        elif isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"config {name}: expected a finite number, got {value}")
        elif isinstance(value, int | float) and name in _NOT_NEGATIVE and value < 0:
            raise ValueError(f"config {name}: expected 0 or more, got {value}")
        elif name == "hidden" and min(value, default=1) < 1:
            raise ValueError(f"config hidden: expected sizes of at least 1, got {list(value)}")
        elif isinstance(value, int | float) and name in _FRACTIONS and not 0 <= value <= 1:
            raise ValueError(f"config {name}: expected a number from 0 to 1, got {value}")
        elif isinstance(value, int | float) and name in _POSITIVE and not value > 0:
            raise ValueError(f"config {name}: expected a positive number, got {value}")


def convert(key: str, value: Any, hint: Any) -> Any:
    """A setting's value, as it may come from JSON or a user, as the type that its field has.

    Raises:
      ValueError: it is of another one.
    """
    if isinstance(hint, types.UnionType):
        if value is None and type(None) in hint.__args__:
            return None
        return convert(key, value, next(arg for arg in hint.__args__ if arg is not type(None)))
    origin, expected = typing.get_origin(hint), getattr(hint, "__name__", str(hint))
    if origin is Literal:
        if value in typing.get_args(hint):
            return value
        expected = " or ".join(map(repr, typing.get_args(hint)))
    elif origin is tuple:
        expected = f"a list of {'whole ' if typing.get_args(hint)[0] is int else ''}numbers"
        if isinstance(value, list | tuple):
            return tuple(convert(key, item, typing.get_args(hint)[0]) for item in value)
    elif hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif hint is int and isinstance(value, float) and value.is_integer():
        return int(value)  # 5e4 is a float in JSON
    elif isinstance(value, hint) and isinstance(value, bool) == (hint is bool):
        return value
    expected = {"int": "a whole number", "float": "a number", "bool": "true or false"}.get(
        expected, expected
    )
    raise ValueError(f"config {key}: expected {expected}, got {value!r}")
