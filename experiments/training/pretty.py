"""Results as text that people read."""

from collections.abc import Mapping
from typing import Any

import numpy as np


def pretty_print(result: Mapping[str, Any], indent: int = 0) -> str:
    """A result as lines "name: value", nested ones indented; what is None, or empty, is left out.

    >>> result = {"loss": 0.123456789, "episode_len_mean": None}
    >>> print(pretty_print(result | {"num_env_steps_sampled_lifetime": 12000}))
    loss: 0.123457
    num_env_steps_sampled_lifetime: 12000
    """
    lines = []
    for key, value in result.items():
        if isinstance(value, Mapping):
            nested = pretty_print(value, indent + 2)
            lines += [f"{' ' * indent}{key}:", nested] if nested else []
        elif value is not None:
            lines.append(f"{' ' * indent}{key}: {_text(value)}")
    return "\n".join(lines)


def _text(value: Any) -> str:
    if isinstance(value, float | np.floating):
        number = float(value)
        return f"{number:.6g}" if abs(number) < 1e6 or not np.isfinite(number) else f"{number:.3f}"
    if isinstance(value, np.ndarray | list | tuple):
        items = np.ravel(value).tolist() if isinstance(value, np.ndarray) else value
        return f"[{', '.join(map(_text, items))}]"
    return str(value)
