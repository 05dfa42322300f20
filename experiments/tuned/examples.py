"""Tuned examples: experiments in YAML, which the package brings or a user writes.

cartpole-sweep:
  run: DQN
  env: CartPole-v1
  stop: {episode_return_mean: 450}
  config:
    learning_rate: {grid_search: [1.0e-3, 5.0e-4]}

`sweeps.search_space` lists the marks of values that vary.
"""

import dataclasses
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from ..configs.checking import nearest

SUFFIX = ".yaml"
OPTIONS: dict[str, tuple[Any, str]] = {  # of a run, not of its algorithm
    "num_workers": (int, "an integer of at least 0"),
    "num_gpus": (int | float, "a number of at least 0"),
    "monitor": (bool, "true or false"),
}


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One entry of a file.

    Attributes:
      name: Name of the entry.
      run: Name of the algorithm.
      env: Name of the environment.
      stop: Numbers that end the run, as `Trainer.run` takes them; None for the configuration's
        `num_steps`.
      config: Settings that differ from the algorithm's defaults; values may be marks of
        `search_space`.
      runner: Name of the runner, as `Trainer` takes it; None for the usual one.
      num_workers: Number of actors, as the option of `jax-agents train`; None if not given. This
        and the next two may stand in `config`, where early RLlib had them.
      num_gpus: Number of GPUs, as the option of `jax-agents train`; None if not given.
      monitor: Film episodes, as the option of `jax-agents train`; None if not given.
      gate: Name of the row of `experiments.gates` whose configuration it is.
      reaches: Description of the return that it reaches and of the time it takes, for people.
    """

    name: str
    run: str
    env: str
    stop: Mapping[str, float] | None = None
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    runner: str | None = None
    num_workers: int | None = None
    num_gpus: float | None = None
    monitor: bool | None = None
    gate: str | None = None
    reaches: str = ""


def names() -> list[str]:
    """Returns the names of the examples that the package brings."""
    return sorted(
        path.name.removesuffix(SUFFIX) for path in _folder().iterdir() if path.name.endswith(SUFFIX)
    )


def load(name: str) -> list[Experiment]:
    """Returns the experiments of an example, by its name, or of a YAML file, by its path.

    Raises:
      ValueError: if there is no such example or file, it is not YAML, or it has unknown keys.
    """
    import yaml

    if name in names():
        text = (_folder() / f"{name}{SUFFIX}").read_text(encoding="utf-8")
    elif Path(name).is_file():
        text = Path(name).read_text(encoding="utf-8")
    else:
        raise ValueError(
            f"no tuned example and no file is called {name!r}; {nearest(name, names())}"
        )
    try:
        entries = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{name}: not YAML: {error}") from error
    if not isinstance(entries, dict) or not entries:
        raise ValueError(
            f"{name}: expected entries such as 'my-experiment: {{run: DQN, env: CartPole-v1}}', "
            f"got {entries!r}"
        )
    return [parse(name, key, entry) for key, entry in entries.items()]


def parse(where: str, name: str, entry: Any) -> Experiment:
    """Returns the experiment of an entry, such as `{"run": "DQN", "env": "CartPole-v1"}`.

    Args:
      where: Name of the file, for messages.
      name: Name of the entry.
      entry: The entry.

    Raises:
      ValueError: if it lacks a key, or has one that means nothing.
    """
    known = [field.name for field in dataclasses.fields(Experiment) if field.name != "name"]
    if not isinstance(entry, dict) or not {"run", "env"} <= set(entry):
        raise ValueError(f"{where}: {name}: expected at least the keys run and env, got {entry!r}")
    for key in entry:
        if key not in known:
            raise ValueError(f"{where}: {name}: no key {key!r}; {nearest(str(key), known)}")
    entry = {key: value for key, value in entry.items() if value is not None}
    config = dict(_numbers(entry.get("config", {})))
    options = {
        key: entry.pop(key) if key in entry else config.pop(key)
        for key in OPTIONS
        if key in entry or key in config
    }
    for key, value in options.items():
        check_option(key, value)
    if options.get("num_workers") and entry.setdefault("runner", "ray") != "ray":
        raise ValueError(
            f"{where}: {name}: num_workers are actors of runner 'ray', got runner "
            f"{entry['runner']!r}"
        )
    return Experiment(name, **(entry | options | {"config": config}))


def check_option(name: str, value: Any) -> None:
    """Raises a ValueError unless the value suits one of `OPTIONS`."""
    kind, expected = OPTIONS[name]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool) or value < 0:
        raise ValueError(f"{name}: expected {expected}, got {value!r}")


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
    return resources.files(__package__)
