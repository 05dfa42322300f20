"""The trials of a sweep: how each is set up, and which of them are one run on device."""

import contextlib
import dataclasses
import json
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...learners.checks import NonFiniteError
from ..runners import VmappedRuns
from ..trained import run_folder
from ..trained.agent import EnvironmentLike
from ..trained.environments import jax_environment
from ..training.callbacks import Callback, Training, recorders
from ..training.reports import reached, stop_of
from ..training.trainer import Trainer
from .analysis import Trial


@dataclasses.dataclass(frozen=True, eq=False)
class Job:
    """A configuration and a seed to train, with a label that says how it differs from others."""

    label: str
    config: Any
    seed: int


@dataclasses.dataclass(frozen=True, eq=False)
class Setup:
    """The things that the trials of a sweep share; they are the arguments of `run_sweep`."""

    env: EnvironmentLike
    stop: Mapping[str, float] | None
    runner: str
    replay: str
    num_workers: int | None
    folder: Path | None
    checkpoint_freq: int
    checkpoint_at_end: bool
    keep_checkpoints: int
    callbacks: Sequence[Callback]

    def train(self, jobs: Sequence[Job], shared: VmappedRuns | None) -> list[Trial]:
        """Trains jobs one after the other, or in step where `shared` computes them all."""
        trainers: list[Trainer] = []
        trials: list[Trial] = []
        try:
            for job in jobs:
                trainer, trial = self._start(job)
                trainers.append(trainer)
                trials.append(trial)
            reports = [self._reports(*one) for one in zip(trainers, trials, strict=True)]
            if shared is None:
                for one in reports:
                    with _given_up_alone():
                        for _ in one:
                            pass
            else:
                _in_step(trainers, reports, shared, self.stop)
        finally:
            for trainer in trainers:
                trainer.close()
        return trials

    def _start(self, job: Job) -> tuple[Trainer, Trial]:
        trainer = Trainer(
            job.config,
            self.env,
            seed=job.seed,
            run_folder=None if self.folder is None else self.folder / job.label,
            runner=self.runner,
            replay=self.replay,
            num_workers=self.num_workers,
            keep_checkpoints=self.keep_checkpoints,
        )
        own = () if trainer.run_folder is None else recorders(trainer.run_folder)
        results = _Results()
        trainer.callbacks = (*own, results, *self.callbacks)
        trial = Trial(
            label=job.label,
            run=job.config.algorithm,
            env=self.env,
            seed=job.seed,
            runner=self.runner,
            config=job.config.settings(),
            results=results.results,
            folder=trainer.run_folder,
        )
        return trainer, trial

    def _reports(self, trainer: Trainer, trial: Trial) -> Iterator[dict[str, Any]]:
        if trial.folder is not None:
            trial.folder.mkdir(parents=True)
            params = trainer.params() | {"stop": self.stop}
            run_folder.write_params(trial.folder, params)
        return trainer.reports(self.stop, self.checkpoint_freq, self.checkpoint_at_end)


def groups(
    jobs: list[Job], env: EnvironmentLike, together: bool
) -> Iterator[tuple[list[Job], VmappedRuns | None]]:
    """The jobs to start at once, with the runs that compute them; None for one by one.

    Args:
      jobs: Jobs of one algorithm.
      env: Their environment.
      together: Compute those that allow it as one run on device.
    """
    config = jobs[0].config
    if together and len(jobs) > 1 and config.can_be_vmapped:
        names = [field.name for field in dataclasses.fields(config)]
        values = {name: [getattr(job.config, name) for job in jobs] for name in names}
        floats = [
            name
            for name in names
            if len(set(values[name])) > 1 and all(isinstance(v, float) for v in values[name])
        ]
        for traced in (floats, []):  # if the agent cannot take them, only seeds are in one run
            found = [(group, _vmapped(group, traced, env)) for group in _alike(jobs, traced)]
            if all(shared.possible() for _, shared in found):
                yield from found
                return
    yield from (([job], None) for job in jobs)


def _alike(jobs: Iterable[Job], traced: Sequence[str]) -> Iterable[list[Job]]:
    alike: dict[str, list[Job]] = {}
    for job in jobs:
        settings = job.config.settings()
        rest = {key: value for key, value in settings.items() if key not in traced}
        alike.setdefault(json.dumps(rest), []).append(job)
    return alike.values()


def _vmapped(group: list[Job], traced: Sequence[str], env: EnvironmentLike) -> VmappedRuns:
    config = group[0].config
    values = {name: [getattr(job.config, name) for job in group] for name in traced}
    made = jax_environment(env, config.max_episode_steps)
    return VmappedRuns(config, made, [job.seed for job in group], values)


class _Results(Callback):
    def __init__(self) -> None:
        self.results: list[Mapping[str, Any]] = []

    def on_report(self, trainer: Training, result: Mapping[str, Any]) -> None:
        """Keeps the report."""
        self.results.append(result)


@contextlib.contextmanager
def _given_up_alone() -> Iterator[None]:
    """Lets the other trials go on where one is given up; its last report and a warning say so."""
    try:
        yield
    except NonFiniteError as error:
        warnings.warn(f"a trial is given up: {error}", RuntimeWarning, stacklevel=2)


def _in_step(
    trainers: list[Trainer],
    reports: list[Iterator[dict[str, Any]]],
    shared: VmappedRuns,
    stop: Mapping[str, float] | None,
) -> None:
    """Goes through the reports of all trainers, a round at a time, until each has stopped."""
    for trainer, member in zip(trainers, shared.members, strict=True):
        trainer.runner = member
    active = [True] * len(trainers)
    while any(active):
        shared.advance(active)
        for index, trainer in enumerate(trainers):
            if active[index]:
                active[index] = False
                with _given_up_alone():
                    next(reports[index])
                    own = stop_of(stop, trainer.config.num_steps)
                    active[index] = not (trainer.interrupted or reached(own, trainer.result))
                    if not active[index]:
                        next(reports[index], None)  # the checkpoint at the end
