"""The same sweeps under Ray Tune (extra `tune`): trials in processes of their own, which a
scheduler may end or change.
"""

import dataclasses
import math
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from ...drivers.ray_runtime import import_ray
from ..configs import presets
from ..trained import run_folder
from ..training.callbacks import recorders
from ..training.reports import check_stop, reached
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
    """Trains each configuration in a process of its own, as resources allow; on the Ray that runs,
    or one that it starts.

    A trial that goes on from another's checkpoint, as in population-based training, takes weights
    and the optimizer's moments from it; settings come from its own configuration alone.
    `Trial.config` has the last ones.

    Args:
      run: as `run_sweep` takes it.
      config: `env`, and what differs from the algorithm's defaults; values may be Tune's search
        spaces, or marks of `search_space`. `seed` may be among them, and is `seed` otherwise.
      stop: as `Trainer.run` takes it.
      num_samples: as Tune's: how often to go through the grid.
      scheduler: of Tune, such as `ASHAScheduler(time_attr="num_env_steps_sampled_lifetime")`; None:
        first in, first out.
      metric, mode: what the scheduler compares: a key of results, and "max" or "min".
      seed: of the trials.
      runner, replay: as `Trainer` takes them.
      checkpoint_freq: reports from checkpoint to checkpoint; what the scheduler ends early has no
        others.
      checkpoint_at_end: of trials that reach `stop`.
      folder, name: where Tune writes, on a disk that all machines share, and the experiment's name
        there; the trials' run folders are in its `runs/`. None: `~/ray_results`, and a name with
        the time.
      cpus_per_trial, gpus_per_trial: what a trial takes; fractions share.
      verbose: as Tune's: 0 is silent.

    Raises:
      ValueError: a setting, or `stop`, that is wrong.
      ImportError: Ray Tune is not installed.
      FileExistsError: there is an experiment of this name.
      RuntimeError: a trial failed; the message has the first one's error.
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
    """What the trials of a `tune_experiment` share; `runs` is where their run folders are."""

    defaults: Any
    seed: int
    runner: str
    replay: str
    stop: Mapping[str, float] | None
    checkpoint_freq: int
    checkpoint_at_end: bool
    runs: Path


def train_trial(config: Mapping[str, Any], job: TuneJob) -> None:
    """A trial, in Tune's process: trains, reports results and checkpoints, and goes on from Tune's
    checkpoint if it has one.
    """
    tune = _import_tune()
    values = {key: value for key, value in config.items() if key not in _NO_SETTINGS}
    settings = presets.with_values(job.defaults, values)
    env, seed = config["env"], config.get("seed", job.seed)
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
    try:
        folder.mkdir(parents=True, exist_ok=True)
        run_folder.write_params(folder, trainer.params())
        trainer.callbacks = recorders(folder)
        checkpoints: Any = trainer.checkpointer  # there is one, since there is a folder
        given = tune.get_checkpoint()
        if given is not None:
            with given.as_directory() as path:
                trainer.restore(checkpoints.adopt(path))
        stop = job.stop or {"num_env_steps_sampled_lifetime": settings.num_steps}
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
    finally:
        trainer.close()


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
