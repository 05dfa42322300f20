"""An agent in words: the text that `print(agent)` shows."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax

from ..envs.specs import EnvironmentSpecs


def describe(agent: Any) -> str:
    """Returns an agent's name and a line for each of its fields, such as `  gamma: 0.99`."""
    lines = [type(agent).__name__]
    for field in dataclasses.fields(agent):
        value = getattr(agent, field.name)
        if isinstance(value, EnvironmentSpecs):
            for name in ("observation", "action"):
                lines.append(f"  {name}: {jax.tree.map(str, getattr(value, name))}")
        else:
            lines.append(f"  {field.name}: {_format(value)}")
    return "\n".join(lines)


def _format(value: Any) -> str:
    if isinstance(value, nn.Module):
        settings = (f for f in dataclasses.fields(value) if f.name not in ("parent", "name"))
        given = ((f, getattr(value, f.name)) for f in settings)
        changed = ", ".join(f"{f.name}={_format(v)}" for f, v in given if _is_changed(f, v))
        return f"{type(value).__name__}({changed})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_format(part)}" for key, part in value.items()) + "}"
    if isinstance(value, tuple) and hasattr(value, "update") and hasattr(value, "init"):
        return "optax transformation"
    if callable(value):
        name = getattr(value, "__qualname__", type(value).__name__)
        return name.partition(".<locals>")[0]
    return str(value)


def _is_changed(field: Any, value: Any) -> bool:
    return field.default is dataclasses.MISSING or value != field.default
