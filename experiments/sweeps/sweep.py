"""Sweeps in this process: one experiment with many settings, on device all at once where they allow
it.
"""

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..configs import presets
from ..configs.cloning import BcConfig
from ..configs.evolution import EsConfig
from ..runners import VmappedRuns
from ..trained import run_folder
from ..trained.environments import jax_environment
from ..training.callbacks import Callback, recorders
from ..training.reports import check_stop, reached
from ..training.trainer import Trainer
from ..tuned import examples as tuned_examples
from .analysis import Analysis, Trial
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
      >>> analysis = run_sweep("A2C", "CartPole-v1", settings, stop={"training_iteration": 1}, runner="device")
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
      callbacks: told of all trials; what they are given tells which.

    Raises:
      ValueError: a setting or mark that is wrong, before anything is trained.
      FileExistsError: there are runs in the folder.
    """
    name, defaults = presets.resolve(run)
    jobs = [
        _Job(
            "_".join(filter(None, [label, f"seed_{number}"])),
            presets.with_values(defaults, values, name),
            number,
        )
        for label, values in variants(config or {}, num_samples, seed)
        for number in range(seed, seed + num_seeds)
    ]
    if not jobs:
        raise ValueError(f"num_seeds: expected at least 1, got {num_seeds}")
    if stop is not None:
        check_stop(stop)
    parent = None if folder is None else Path(folder).absolute()
    if parent is not None and any(parent.rglob(run_folder.PARAMS)):
        raise FileExistsError(
            f"{parent}: there are runs in it; look at them with Analysis.load, or choose another "
            "folder"
        )

    def start(job: _Job) -> tuple[Trainer, Trial]:
        trainer = Trainer(
            job.config,
            env,
            seed=job.seed,
            run_folder=None if parent is None else parent / job.label,
            runner=runner,
            replay=replay,
            num_workers=num_workers,
            keep_checkpoints=keep_checkpoints,
        )
        own = () if trainer.run_folder is None else recorders(trainer.run_folder)
        results = _Results()
        trainer.callbacks = (*own, results, *callbacks)
        values = presets.to_json(job.config)
        return trainer, Trial(
            job.label, name, env, job.seed, runner, values, results.results, trainer.run_folder
        )

    def begin(trainer: Trainer, trial: Trial) -> Iterator[dict[str, Any]]:
        if trial.folder is not None:
            trial.folder.mkdir(parents=True)
            written = {key: getattr(trial, key) for key in ("run", "seed", "runner", "config")}
            written |= {
                "env": env if isinstance(env, str) else repr(env),
                "replay": trainer.replay_name,
                "stop": stop,
            }
            run_folder.write_params(trial.folder, written)
        return trainer.reports(stop, checkpoint_freq, checkpoint_at_end)

    trials: dict[str, Trial] = {}
    for group, shared in _groups(jobs, env, runner, together):
        started = []
        try:
            for job in group:
                started.append(start(job))
            running = [begin(*one) for one in started]
            if shared is None:
                for reports in running:
                    for _ in reports:
                        pass
            else:
                _in_step([trainer for trainer, _ in started], running, shared, stop)
        finally:
            for trainer, _ in started:
                trainer.close()
        trials |= {trial.label: trial for _, trial in started}
    return Analysis([trials[job.label] for job in jobs])


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


@dataclasses.dataclass(frozen=True, eq=False)
class _Job:
    label: str
    config: Any
    seed: int


class _Results(Callback):
    def __init__(self):
        self.results: list[Mapping[str, Any]] = []

    def on_report(self, trainer: Trainer, result: Mapping[str, Any]) -> None:
        self.results.append(result)


def _groups(
    jobs: list[_Job], env: Any, runner: str, together: bool
) -> Iterator[tuple[list[_Job], VmappedRuns | None]]:
    """The jobs to start at once, with what computes them; one by one where that is None."""
    config = jobs[0].config
    if (
        runner != "device"
        or not together
        or len(jobs) == 1
        or isinstance(config, EsConfig | BcConfig)
    ):
        yield from (([job], None) for job in jobs)
        return
    names = [field.name for field in dataclasses.fields(config)]
    values = {name: [getattr(job.config, name) for job in jobs] for name in names}
    floats = [
        name
        for name in names
        if len(set(values[name])) > 1 and all(isinstance(v, float) for v in values[name])
    ]
    for traced in (floats, []):  # if the agent cannot take them, only seeds are in one run
        groups = [(group, _together(group, traced, env)) for group in _alike(jobs, traced)]
        if all(shared.possible() for _, shared in groups):
            yield from groups
            return
    yield from (([job], None) for job in jobs)


def _alike(jobs: Iterable[_Job], traced: Sequence[str]) -> Iterable[list[_Job]]:
    groups: dict[str, list[_Job]] = {}
    for job in jobs:
        rest = {
            key: value for key, value in presets.to_json(job.config).items() if key not in traced
        }
        groups.setdefault(json.dumps(rest), []).append(job)
    return groups.values()


def _together(group: list[_Job], traced: Sequence[str], env: Any) -> VmappedRuns:
    config = group[0].config
    values = {name: [getattr(job.config, name) for job in group] for name in traced}
    made = jax_environment(env, config.max_episode_steps)
    return VmappedRuns(
        config, presets.preset_of(config)[1].make_agent, made, [job.seed for job in group], values
    )


def _in_step(
    trainers: list[Trainer],
    reports: list[Iterator[dict[str, Any]]],
    shared: VmappedRuns,
    stop: Mapping[str, float] | None,
) -> None:
    """Goes through the reports of all trainers, a round at a time, until each has stopped for
    itself.
    """
    for trainer, member in zip(trainers, shared.members, strict=True):
        trainer.runner = member
    active = [True] * len(trainers)
    while any(active):
        shared.advance(active)
        for index, trainer in enumerate(trainers):
            if active[index]:
                next(reports[index])
                own = (
                    {"num_env_steps_sampled_lifetime": trainer.config.num_steps}
                    if stop is None
                    else stop
                )
                active[index] = not (trainer.interrupted or reached(own, trainer.result))
                if not active[index]:
                    next(reports[index], None)  # the checkpoint at the end
