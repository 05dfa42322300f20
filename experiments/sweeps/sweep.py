"""Sweeps in this process: one experiment, many settings, on device all at once if they allow."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..configs import presets
from ..trained import run_folder
from ..training.callbacks import Callback
from ..training.reports import check_stop
from ..tuned import examples as tuned_examples
from .analysis import Analysis, Trial
from .jobs import Job, Setup, groups
from .search_space import variants


def run_sweep(
    run: Any,
    env: Any,
    config: Mapping[str, Any] | None = None,
    *,
    stop: Mapping[str, float] | None = None,
    num_samples: int = 1,
    num_seeds: int = 1,
    seed: int = 0,
    runner: str = "loop",
    replay: str = "auto",
    num_workers: int | None = None,
    together: bool = True,
    folder: str | Path | None = None,
    checkpoint_freq: int = 0,
    checkpoint_at_end: bool = True,
    keep_checkpoints: int = 3,
    callbacks: Sequence[Callback] = (),
) -> Analysis:
    """Trains each configuration with each seed, and returns the trials.

    With runner "device", trials that differ only in seeds, and in floats that the agent takes as
    traced values, such as learning rates, are one compiled run; each computes what it would alone,
    but for rounding. Others come one by one.

    Example:
      >>> from jax_agents.experiments import grid_search, run_sweep
      >>> settings = {"learning_rate": grid_search([1e-3, 1e-2]), "hidden": [8], "num_rows": 32}
      >>> stop = {"training_iteration": 1}
      >>> analysis = run_sweep("A2C", "CartPole-v1", settings, stop=stop, runner="device")
      >>> [trial.config["learning_rate"] for trial in analysis.trials]
      [0.001, 0.01]

    Args:
      run: an algorithm's name, or a preset's configuration, whose values are then the defaults, or
        the class of one.
      env: as `Trainer` takes it.
      config: what differs from the defaults; values may be marks of `search_space`.
      stop: as `Trainer.run` takes it; each trial stops for itself.
      num_samples: how often to go through the grid, with other random values each time.
      num_seeds: trials of each configuration, with seeds from `seed` on.
      seed: of the draws, and the first of the trials'.
      runner, replay, num_workers: as `Trainer` takes them.
      together: False: one after the other on device too, which needs less memory.
      folder: gets a run folder for each trial; None: nothing is saved.
      checkpoint_freq, checkpoint_at_end, keep_checkpoints: as `Trainer` and its `run` take them;
        where there is a folder.
      callbacks: Callbacks of all trials; their arguments say which.

    Raises:
      ValueError: a setting or mark that is wrong, before anything is trained.
      FileExistsError: there are runs in the folder.
    """
    defaults = presets.resolve(run)
    jobs = [
        Job("_".join(filter(None, [label, f"seed_{number}"])), config, number)
        for label, values in variants(config or {}, num_samples, seed)
        for config in [presets.with_values(defaults, values)]
        for number in range(seed, seed + num_seeds)
    ]
    if not jobs:
        raise ValueError(f"num_seeds: expected at least 1, got {num_seeds}")
    if stop is not None:
        check_stop(stop)
    parent = None if folder is None else Path(folder).absolute()
    if parent is not None and any(parent.rglob(run_folder.PARAMS)):
        raise FileExistsError(
            f"{parent}: there are runs in it; "
            "look at them with Analysis.load, or choose another folder"
        )
    setup = Setup(
        env=env,
        stop=stop,
        runner=runner,
        replay=replay,
        num_workers=num_workers,
        folder=parent,
        checkpoint_freq=checkpoint_freq,
        checkpoint_at_end=checkpoint_at_end,
        keep_checkpoints=keep_checkpoints,
        callbacks=callbacks,
    )
    found: dict[str, Trial] = {}
    for group, shared in groups(jobs, env, together and runner == "device"):
        found |= {trial.label: trial for trial in setup.train(group, shared)}
    return Analysis([found[job.label] for job in jobs])


def run_experiments(
    experiments: Mapping[str, Mapping[str, Any]],
    *,
    folder: str | Path | None = None,
    num_samples: int = 1,
    num_seeds: int = 1,
    seed: int = 0,
    checkpoint_freq: int = 0,
    checkpoint_at_end: bool = True,
    callbacks: Sequence[Callback] = (),
) -> Analysis:
    """Sweeps by name, one after the other, as
    `{"mine": {"run": "DQN", "env": "CartPole-v1", "stop": ..., "config": ...}}`.

    Args:
      experiments: entries as in a YAML file of tuned examples; see `tuned_examples.Experiment` for
        their keys.
      folder: gets a folder of each one's name, with a run folder for each trial; None: nothing is
        saved.
      num_samples, num_seeds, seed, checkpoint_freq, checkpoint_at_end, callbacks: as `run_sweep`
        takes them.

    Returns:
      All trials, with labels that begin with the experiment's name.

    Raises:
      ValueError: an entry that is wrong.
    """
    entries = [
        tuned_examples.parse("experiments", name, dict(entry))
        for name, entry in experiments.items()
    ]
    trials: list[Trial] = []
    for entry in entries:
        if entry.num_gpus or entry.monitor:
            raise ValueError(
                f"{entry.name}: num_gpus={entry.num_gpus}, monitor={entry.monitor}: in Python, "
                "set JAX_PLATFORMS, and pass "
                "callbacks=[callbacks.Monitor(folder)]; or use `jax-agents train -f`"
            )
        found = run_sweep(
            entry.run,
            entry.env,
            entry.config,
            stop=entry.stop,
            num_samples=num_samples,
            num_seeds=num_seeds,
            seed=seed,
            runner=entry.runner or "loop",
            num_workers=entry.num_workers,
            folder=None if folder is None else Path(folder) / entry.name,
            checkpoint_freq=checkpoint_freq,
            checkpoint_at_end=checkpoint_at_end,
            callbacks=callbacks,
        )
        trials += [
            dataclasses.replace(trial, label=f"{entry.name}/{trial.label}")
            for trial in found.trials
        ]
    return Analysis(trials)
