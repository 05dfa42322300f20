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
    except for rounding. Others are trained one by one.

    Example:
      >>> from jax_agents.experiments import grid_search, run_sweep
      >>> settings = {"learning_rate": grid_search([1e-3, 1e-2]), "hidden": [8], "num_rows": 32}
      >>> stop = {"training_iteration": 1}
      >>> analysis = run_sweep("A2C", "CartPole-v1", settings, stop=stop, runner="device")
      >>> [trial.config["learning_rate"] for trial in analysis.trials]
      [0.001, 0.01]

    Args:
      run: Name of an algorithm; or a configuration, whose values are then the defaults; or the
        class of one.
      env: Environment, as `Trainer` takes it.
      config: Settings that differ from the defaults; values may be marks of `search_space`.
      stop: Numbers that end a trial, as `Trainer.run` takes them; each trial stops for itself.
      num_samples: Number of passes through the grid, each with random values of its own.
      num_seeds: Number of trials of each configuration, with seeds from `seed` on.
      seed: Seed of the draws, and of the first trial of each configuration.
      runner: Name of the runner, as `Trainer` takes it.
      replay: Name of the replay, as `Trainer` takes it.
      num_workers: Number of actors of runner "ray".
      together: Make one compiled run of trials on device; False trains them one by one, which needs
        less memory.
      folder: Folder in which each trial gets a run folder; None saves nothing.
      checkpoint_freq: Number of reports from checkpoint to checkpoint; 0 for none on the way.
      checkpoint_at_end: Save a checkpoint at the end of each trial.
      keep_checkpoints: Number of the newest checkpoints that each trial keeps.
      callbacks: Callbacks of all trials; their arguments say which trial it is.

    Raises:
      ValueError: for a setting or a mark that is wrong, before anything is trained.
      FileExistsError: if there are runs in the folder.
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
    """Runs sweeps by name, one after the other.

    `{"mine": {"run": "DQN", "env": "CartPole-v1", "stop": ..., "config": ...}}` is one of them.

    Args:
      experiments: Entries as in a YAML file of tuned examples; `tuned.examples.Experiment` lists
        their keys.
      folder: Folder in which each experiment gets a folder of its name, with a run folder for each
        trial; None saves nothing.
      num_samples: Number of passes through the grid, as `run_sweep` takes it.
      num_seeds: Number of trials of each configuration.
      seed: Seed of the draws, and of the first trial of each configuration.
      checkpoint_freq: Number of reports from checkpoint to checkpoint; 0 for none on the way.
      checkpoint_at_end: Save a checkpoint at the end of each trial.
      callbacks: Callbacks of all trials.

    Returns:
      All trials, with labels that begin with the experiment's name.

    Raises:
      ValueError: for an entry that is wrong.
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
                "callbacks=[experiments.Monitor(folder)]; or use `jax-agents train -f`"
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
