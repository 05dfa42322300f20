"""Tuned examples: experiments in YAML, with grid search inside, that the package brings or a user writes.

cartpole-sweep:
  run: DQN
  env: CartPole-v1
  stop: {episode_return_mean: 450}
  config:
    learning_rate: {grid_search: [1.0e-3, 5.0e-4]}
"""

import dataclasses
import itertools
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from .presets import nearest

SUFFIX = ".yaml"


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One entry of a file.

    Attributes:
      name: of the entry.
      run, env: the algorithm's and the environment's names.
      stop: as `Trainer.run` takes it; None: when the configuration's `num_steps` are done.
      config: what differs from the algorithm's defaults; a value may be `{"grid_search": [...]}`.
      runner: as `Trainer` takes it; None: the usual one.
      gate: the row of `experiments.gates` whose configuration it is.
      reaches: what it reaches and when, for people.
    """

    name: str
    run: str
    env: str
    stop: Mapping[str, float] | None = None
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    runner: str | None = None
    gate: str | None = None
    reaches: str = ""


def names() -> list[str]:
    """The names of the examples that the package brings."""
    return sorted(path.name.removesuffix(SUFFIX) for path in _folder().iterdir() if path.name.endswith(SUFFIX))


def load(name: str) -> list[Experiment]:
    """The experiments of an example, by its name, or of a YAML file, by its path.

    Raises:
      ValueError: there is no such example or file; it is not YAML; or it has keys that mean nothing.
    """
    import yaml

    if name in names():
        where, text = name, (_folder() / f"{name}{SUFFIX}").read_text(encoding="utf-8")
    elif Path(name).is_file():
        where, text = name, Path(name).read_text(encoding="utf-8")
    else:
        raise ValueError(f"no tuned example and no file is called {name!r}; {nearest(name, names())}")
    try:
        entries = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{where}: not YAML: {error}") from error
    if not isinstance(entries, dict) or not entries:
        raise ValueError(f"{where}: expected entries such as 'my-experiment: {{run: DQN, env: CartPole-v1}}', got {entries!r}")
    return [_experiment(where, key, entry) for key, entry in entries.items()]


def variants(config: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The configurations of a grid search, with a label for each that says how they differ; one with label "" if there is none.

    >>> variants({"gamma": 0.9, "learning_rate": {"grid_search": [1, 2]}})
    [('learning_rate=1', {'gamma': 0.9, 'learning_rate': 1}), ('learning_rate=2', {'gamma': 0.9, 'learning_rate': 2})]

    Raises:
      ValueError: a grid search that is no list, or empty.
    """
    axes = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            if list(value) != ["grid_search"] or not isinstance(value["grid_search"], list) or not value["grid_search"]:
                raise ValueError(f"config {key}: expected a value, or {{grid_search: [values]}}, got {value!r}")
            axes[key] = value["grid_search"]
    found = []
    for values in itertools.product(*axes.values()):
        chosen = dict(zip(axes, values, strict=True))
        found.append(("_".join(f"{key}={_label(value)}" for key, value in chosen.items()), dict(config) | chosen))
    return found


def _experiment(where: str, name: str, entry: Any) -> Experiment:
    known = [field.name for field in dataclasses.fields(Experiment) if field.name != "name"]
    if not isinstance(entry, dict) or not {"run", "env"} <= set(entry):
        raise ValueError(f"{where}: {name}: expected at least the keys run and env, got {entry!r}")
    for key in entry:
        if key not in known:
            raise ValueError(f"{where}: {name}: no key {key!r}; {nearest(str(key), known)}")
    entry = {key: value for key, value in entry.items() if value is not None}
    return Experiment(name, **(entry | {"config": _numbers(entry.get("config", {}))}))


def _numbers(value: Any) -> Any:
    """With numbers for what YAML 1.1 takes for words, such as 1e-3."""
    if isinstance(value, dict):
        return {key: _numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _folder() -> Any:
    return resources.files(__package__) / "tuned"


def _label(value: Any) -> str:
    return "-".join(map(str, value)) if isinstance(value, list) else str(value).replace("/", "-")
