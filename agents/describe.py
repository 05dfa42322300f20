"""An agent in words: what `print(agent)` shows."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax

from ..envs.specs import EnvironmentSpecs


def describe(agent: Any) -> str:
    """A line for each of an agent's fields, after its name: `DqnAgent`, `  gamma: 0.99` and so
    on.
    """
    lines = [type(agent).__name__]
    for field in dataclasses.fields(agent):
        value = getattr(agent, field.name)
        if isinstance(value, EnvironmentSpecs):
            lines += [
                f"  {name}: {jax.tree.map(str, getattr(value, name))}"
                for name in ("observation", "action")
            ]
        else:
            lines.append(f"  {field.name}: {_told(value)}")
    return "\n".join(lines)


def _told(value: Any) -> str:
    if isinstance(value, nn.Module):
        settings = [f for f in dataclasses.fields(value) if f.name not in ("parent", "name")]
        changed = [
            f
            for f in settings
            if f.default is dataclasses.MISSING or getattr(value, f.name) != f.default
        ]
        return f"{type(value).__name__}({', '.join(f'{f.name}={_told(getattr(value, f.name))}' for f in changed)})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_told(part)}" for key, part in value.items()) + "}"
    if isinstance(value, tuple) and hasattr(value, "update") and hasattr(value, "init"):
        return "optax transformation"
    if callable(value):
        return getattr(value, "__qualname__", type(value).__name__).partition(".<locals>")[0]
    return str(value)
