"""Sweeps under Ray Tune (extra `tune`): trials in processes that a scheduler may end or change."""

import contextlib
import dataclasses
import math
from collections.abc import Mapping
from contextlib import closing
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from ...drivers.ray_runtime import import_ray
from ...learners.checks import NonFiniteError
from ..configs import presets
from ..trained import run_folder
from ..training.callbacks import recorders
from ..training.reports import check_stop, reached, stop_of
from ..training.trainer import Trainer
from .analysis import Analysis
from .search_space import variants

_RUNS, _KEEP = "runs", 3
_NO_SETTINGS = ("env", "seed")


def tune_experiment(
    run: Any,
    config: Mapping[str, Any],
    *,
    stop: Mapping[str, float] | None = None,
    num_samples: int = 1,
    scheduler: Any = None,
    metric: str = "episode_return_mean",
    mode: str = "max",
    seed: int = 0,
    runner: str = "loop",
    replay: str = "host",
    checkpoint_freq: int = 0,
    checkpoint_at_end: bool = True,
    folder: str | Path | None = None,
    name: str | None = None,
    cpus_per_trial: float = 1,
    gpus_per_trial: float = 0,
    verbose: int = 1,
) -> Analysis:
    """Trains each configuration in a process of its own, as resources allow.

    It uses the Ray that runs, or starts one. A trial that goes on from another's checkpoint, as in
    population-based training, takes weights and the optimizer's moments from it; its settings come
    from its own configuration alone, and `Trial.config` has the last ones.

    Args:
      run: Name of an algorithm, a configuration or the class of one, as `run_sweep` takes it.
      config: `env`, and settings that differ from the defaults; values may be Tune's search spaces
        or marks of `search_space`. `seed` may be among them.
      stop: Numbers that end a trial, as `Trainer.run` takes them.
      num_samples: Number of passes through the grid, as in Tune.
      scheduler: Scheduler of Tune, such as
        `ASHAScheduler(time_attr="num_env_steps_sampled_lifetime")`; None for first in, first out.
      metric: Key of the results that the scheduler compares.
      mode: "max" or "min", the better end of the metric.
      seed: Seed of the trials whose configuration has none.
      runner: Name of the runner, as `Trainer` takes it.
      replay: Name of the replay, as `Trainer` takes it.
      checkpoint_freq: Number of reports from checkpoint to checkpoint; a trial that the scheduler
        ends early has no others.
      checkpoint_at_end: Save a checkpoint of trials that reach `stop`.
      folder: Folder where Tune writes, on a disk that all machines share; None for
        `~/ray_results`.
      name: Name of the experiment, whose folder has the trials' run folders in `runs/`; None for
        one with the time.
      cpus_per_trial: Number of CPUs that a trial takes.
      gpus_per_trial: Number of GPUs that a trial takes; trials share one by fractions.
      verbose: Verbosity of Tune; 0 is silent.

    Raises:
      ValueError: for a setting, or a `stop`, that is wrong.
      ImportError: if Ray Tune is not installed.
      FileExistsError: if there is an experiment of this name.
      RuntimeError: if a trial failed; the message has the first one's error.
    """
    tune = _import_tune()
    if "env" not in config:
        raise ValueError(
            f'config: expected "env", such as "CartPole-v1", among the keys, got {sorted(config)}'
        )
    space = {key: _space(tune, key, value) for key, value in config.items()}
    defaults = presets.resolve(run)
    settings = {k: _example(value) for k, value in space.items() if k not in _NO_SETTINGS}
    presets.with_values(defaults, settings)
    parent = Path(folder or Path.home() / "ray_results").absolute()
    name = name or f"{defaults.algorithm}_{datetime.now():%Y-%m-%d_%H-%M-%S}"
    runs = parent / name / _RUNS
    if runs.exists():
        raise FileExistsError(
            f"{runs}: there are runs in it; look at them with Analysis.load, or choose another name"
        )
    stop = None if stop is None else check_stop(stop)
    job = TuneJob(defaults, seed, runner, replay, stop, checkpoint_freq, checkpoint_at_end, runs)
    found = tune.Tuner(
        tune.with_resources(
            partial(train_trial, job=job), {"cpu": cpus_per_trial, "gpu": gpus_per_trial}
        ),
        param_space=space,
        tune_config=tune.TuneConfig(
            num_samples=num_samples, scheduler=scheduler, metric=metric, mode=mode
        ),
        run_config=tune.RunConfig(
            name=name,
            storage_path=str(parent),
            verbose=verbose,
            checkpoint_config=tune.CheckpointConfig(num_to_keep=_KEEP),
        ),
    ).fit()
    if found.num_errors:
        raise RuntimeError(
            f"{found.num_errors} of {len(found)} trials failed, the first with: {found.errors[0]}"
        )
    return Analysis.load(runs)


@dataclasses.dataclass(frozen=True, eq=False)
class TuneJob:
    """The things that the trials of a `tune_experiment` share.

    Attributes:
      defaults: Configuration whose settings a trial replaces.
      seed: Seed of the trials whose configuration has none.
      runner: Name of the runner.
      replay: Name of the replay.
      stop: Numbers that end a trial; None for the steps of its configuration.
      checkpoint_freq: Number of reports from checkpoint to checkpoint.
      checkpoint_at_end: Save a checkpoint of trials that reach `stop`.
      runs: Folder of the trials' run folders.
    """

    defaults: Any
    seed: int
    runner: str
    replay: str
    stop: Mapping[str, float] | None
    checkpoint_freq: int
    checkpoint_at_end: bool
    runs: Path


def train_trial(config: Mapping[str, Any], job: TuneJob) -> None:
    """Trains a trial in Tune's process, and reports results and checkpoints to Tune.

    It goes on from the checkpoint that Tune gives, if there is one.

    Args:
      config: Settings of the trial, with `env` and maybe `seed`.
      job: Record of the things that all trials share.
    """
    tune = _import_tune()
    values = {key: value for key, value in config.items() if key not in _NO_SETTINGS}
    settings = presets.with_values(job.defaults, values)
    env = config["env"]
    seed = config.get("seed", job.seed)
    folder = job.runs / f"trial_{tune.get_context().get_trial_id().rpartition('_')[2]}"
    trainer = Trainer(
        settings,
        env,
        seed=seed,
        run_folder=folder,
        runner=job.runner,
        replay=job.replay,
        keep_checkpoints=_KEEP,
    )
    # A trial that is given up has reported so; it is no failure of Tune's.
    with closing(trainer), contextlib.suppress(NonFiniteError):
        folder.mkdir(parents=True, exist_ok=True)
        run_folder.write_params(folder, trainer.params())
        trainer.callbacks = recorders(folder)
        checkpoints: Any = trainer.checkpointer  # there is one, since there is a folder
        given = tune.get_checkpoint()
        if given is not None:
            with given.as_directory() as path:
                trainer.restore(checkpoints.adopt(path))
        stop = stop_of(job.stop, settings.num_steps)
        for result in trainer.reports(stop, job.checkpoint_freq, checkpoint_at_end=False):
            path = checkpoints.path(trainer.training_iteration)
            if job.checkpoint_at_end and reached(stop, result) and not path.exists():
                trainer.save()
            # for schedulers
            numbers = {key: math.nan if value is None else value for key, value in result.items()}
            tune.report(
                numbers,
                checkpoint=tune.Checkpoint.from_directory(str(path)) if path.exists() else None,
            )


def _space(tune: Any, key: str, value: Any) -> Any:
    """Tune's search space of a mark of `search_space`; other values as they are."""
    if not isinstance(value, Mapping) or "grid_search" in value:
        return value
    variants({key: value})  # raises if it is no mark
    ((kind, values),) = value.items()
    makers = {"uniform": tune.uniform, "log_uniform": tune.loguniform}
    return makers[kind](*values) if kind in makers else tune.choice(values)


def _example(value: Any) -> Any:
    """One of a search space's values."""
    if isinstance(value, Mapping):
        return value["grid_search"][0]
    return value.sample() if hasattr(value, "sample") else value


def _import_tune() -> Any:
    try:
        import_ray()
        from ray import tune
    except ImportError as error:
        raise ImportError(
            'sweeps under Ray Tune need its extra: pip install "jax-agents[tune]"'
        ) from error
    return tune
