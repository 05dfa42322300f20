"""The marks of settings that a sweep varies: plain dicts, which JSON and YAML can hold.

A mark is a dict with one key that stands in a configuration for several values:

    {"learning_rate": {"log_uniform": [1e-4, 1e-2]}, "gamma": {"grid_search": [0.98, 0.99]}}
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np


def grid_search(values: Sequence[Any]) -> dict[str, Any]:
    """Returns the mark for each of these values; several such marks make all combinations."""
    return {"grid_search": list(values)}


def uniform(low: float, high: float) -> dict[str, Any]:
    """Returns the mark for a number drawn uniformly between two, for each configuration."""
    return {"uniform": [low, high]}


def log_uniform(low: float, high: float) -> dict[str, Any]:
    """Returns the mark for a positive number whose logarithm is uniform between two bounds.

    It suits learning rates, for example.
    """
    return {"log_uniform": [low, high]}


def choice(values: Sequence[Any]) -> dict[str, Any]:
    """Returns the mark for one of these values, drawn for each configuration."""
    return {"choice": list(values)}


_DRAWS: dict[str, Callable[[np.random.Generator, list[Any]], Any]] = {
    "uniform": lambda rng, bounds: rng.uniform(*bounds),
    "log_uniform": lambda rng, bounds: math.exp(
        rng.uniform(math.log(bounds[0]), math.log(bounds[1]))
    ),
    "choice": lambda rng, values: values[rng.integers(len(values))],
}
MARKS = ("grid_search", *_DRAWS)


def variants(
    config: Mapping[str, Any], num_samples: int = 1, seed: int = 0
) -> list[tuple[str, dict[str, Any]]]:
    """Returns the configurations that `config` expands to, each with a label of what differs.

    >>> variants({"gamma": 0.9, "n_step": grid_search([1, 2])})
    [('n_step=1', {'gamma': 0.9, 'n_step': 1}), ('n_step=2', {'gamma': 0.9, 'n_step': 2})]
    >>> [label for label, _ in variants({"gamma": uniform(0.9, 1.0)}, num_samples=2)]
    ['gamma=0.9637_sample_0', 'gamma=0.927_sample_1']

    Args:
      config: Values by name; each value that is a dict is a mark.
      num_samples: Number of passes through the grid. Random values are drawn for each
        configuration, so that points of the grid differ in them too.
      seed: Seed of the draws.

    Returns:
      Pairs of a label and a configuration; without marks there is one, with the label "".

    Raises:
      ValueError: if a dict is no mark, or there are several samples and nothing to draw.
    """
    marked = {key: _mark(key, value) for key, value in config.items() if isinstance(value, Mapping)}
    grid = {key: values for key, (kind, values) in marked.items() if kind == "grid_search"}
    if num_samples < 1:
        raise ValueError(f"num_samples: expected at least 1, got {num_samples}")
    all_in_grid = len(grid) == len(marked)
    if num_samples > 1 and all_in_grid:
        raise ValueError(
            f"num_samples={num_samples}: nothing in the configuration is random; for several "
            "seeds, set num_seeds of the sweep"
        )
    rng = np.random.default_rng(seed)
    configurations = []
    for sample, values in itertools.product(range(num_samples), itertools.product(*grid.values())):
        point = dict(zip(grid, values, strict=True))
        chosen = {
            key: point[key] if key in point else _DRAWS[kind](rng, options)
            for key, (kind, options) in marked.items()
        }
        parts = [f"{key}={_label(value, exact=key in point)}" for key, value in chosen.items()]
        parts += [f"sample_{sample}"] if num_samples > 1 else []
        configurations.append(("_".join(parts), dict(config) | chosen))
    return configurations


def _mark(key: str, value: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """Returns the kind of a mark and its values, if it is one."""
    ((kind, values),) = value.items() if len(value) == 1 else [("", None)]
    if kind not in MARKS or not isinstance(values, list) or not values:
        raise ValueError(
            f"config {key}: expected a value, or {{{' or '.join(MARKS)}: [...]}}, "
            f"got {dict(value)!r}"
        )
    if kind.endswith("uniform"):
        numbers = all(
            isinstance(bound, int | float) and not isinstance(bound, bool) for bound in values
        )
        if (
            len(values) != 2
            or not numbers
            or not values[0] < values[1]
            or (kind == "log_uniform" and values[0] <= 0)
        ):
            positive = "positive " if kind == "log_uniform" else ""
            raise ValueError(
                f"config {key}: expected {{{kind}: [low, high]}}, {positive}numbers low < high, "
                f"got {values!r}"
            )
    return kind, values


def _label(value: Any, exact: bool = True) -> str:
    """Returns a value as a part of a label, which names a folder; drawn floats are shortened."""
    if isinstance(value, float) and not exact:
        return f"{value:.4g}"
    return (
        "-".join(map(str, value))
        if isinstance(value, list | tuple)
        else str(value).replace("/", "-")
    )
