"""`jax-agents train`: what is to be run, by options, a tuned example or a folder to resume."""

import argparse
import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import modules
from .errors import UserError, at_least, checked, read_json
from .job import STEPS, Job

if TYPE_CHECKING:
    from ..experiments.tuned.examples import Experiment

PLAN = "plan.json"
SUMMARY = "summary.json"
_FIXED = ("run", "env", "seed", "runner", "replay", "config", "file", "num_seeds", "num_workers")


def add_command(commands: Any, examples: str) -> None:
    """Adds the command and its options."""
    train = commands.add_parser(
        "train",
        help="train an agent",
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    train.set_defaults(command=_train)
    train.add_argument(
        "--run",
        metavar="NAME",
        help="the algorithm, such as DQN (see: jax-agents list), or MODULE:CLASS of your own",
    )
    train.add_argument(
        "--env",
        metavar="ID",
        help="a gymnasium environment, such as CartPole-v1, or MODULE:ID of your own",
    )
    train.add_argument(
        "--config",
        metavar="JSON",
        help="settings of the algorithm, as JSON or the name of a JSON file",
    )
    train.add_argument(
        "-f",
        "--file",
        metavar="TUNED",
        help="a tuned example (see: jax-agents list), or a YAML file of your own",
    )
    stop = train.add_mutually_exclusive_group()
    stop.add_argument(
        "--stop",
        metavar="JSON",
        help="when to stop, such as '{\"episode_return_mean\": 450}'; the first that is met",
    )
    stop.add_argument("--steps", type=int, metavar="N", help="stop after N environment steps")
    train.add_argument("--seed", type=int, help="the seed of everything that is drawn (0)")
    train.add_argument(
        "--num-seeds",
        type=int,
        metavar="N",
        help="train with this many seeds, one after the other (1)",
    )
    train.add_argument(
        "--runner",
        choices=["loop", "vector", "device", "ray"],
        help="a Python loop (the default), the same of several environments at once, "
        "JAX environments on device, or Ray actors",
    )
    train.add_argument(
        "--replay",
        choices=["auto", "reverb", "host"],
        help="of the Python loop (auto: Reverb where installed)",
    )
    train.add_argument(
        "--num-workers",
        type=int,
        metavar="N",
        help="Ray actors, in processes of their own (2, with --runner ray)",
    )
    train.add_argument(
        "--num-gpus",
        type=float,
        metavar="X",
        help="0: the CPU; 0.2: a fifth of a GPU's memory; 1: all of it",
    )
    saving = train.add_mutually_exclusive_group()
    saving.add_argument(
        "--checkpoint-freq",
        type=int,
        metavar="N",
        help="reports from checkpoint to checkpoint (10)",
    )
    saving.add_argument(
        "--checkpoint-at-end",
        action="store_true",
        help="save at the end alone (as --checkpoint-freq 0)",
    )
    train.add_argument("--monitor", action="store_true", help="film an episode at each checkpoint")
    train.add_argument(
        "--out", default="runs", metavar="FOLDER", help="where run folders are made (runs)"
    )
    train.add_argument(
        "--resume", metavar="RUN", help="go on with a run folder, or from one of its checkpoints"
    )
    modules.add_option(train)
    train.add_argument("--no-video", action="store_true", help="do not film the trained policy")


def _train(arguments: argparse.Namespace) -> int:
    from ..experiments.tuned import examples as tuned_examples
    from . import run

    for name, least in (
        ("checkpoint_freq", 0),
        ("steps", 1),
        ("num_seeds", 1),
        ("num_workers", 0),
        ("seed", 0),
    ):
        at_least(least, getattr(arguments, name), f"--{name.replace('_', '-')}")
    if arguments.checkpoint_at_end:
        arguments.checkpoint_freq = 0
    config = read_json(arguments.config, "--config")
    for name in tuned_examples.OPTIONS:  # early RLlib had these among the settings
        if name in config:
            value = config.pop(name)
            checked(tuned_examples.check_option, name, value)
            given = getattr(arguments, name)
            if given is None or given is False:  # an option comes before a setting; 0 is one
                setattr(arguments, name, value)
    if arguments.num_workers:
        if arguments.runner not in (None, "ray"):
            raise UserError(
                f"--num-workers {arguments.num_workers}: these are actors of --runner ray, "
                f"got {arguments.runner}"
            )
        arguments.runner = "ray"
    run.use_gpus(arguments.num_gpus)
    video = not arguments.no_video
    modules.use(arguments.modules)
    if arguments.resume is None:
        modules.use_working_directory()
        jobs = _new_jobs(arguments, config)
        if len(jobs) == 1:
            return run.run_job(jobs[0][1], out=Path(arguments.out), video=video)
        return _run_all(jobs, None, arguments, video)
    folder = Path(arguments.resume).absolute()
    if (folder / PLAN).is_file():
        _refuse(arguments, (*_FIXED, "stop", "steps", "checkpoint_freq"), folder / PLAN)
        jobs = [
            (label, dataclasses.replace(job, monitor=job.monitor or arguments.monitor))
            for label, job in _read_plan(folder / PLAN, arguments.modules)
        ]
        return _run_all(jobs, folder, arguments, video)
    job, folder, step = _resumed(arguments)
    return run.run_job(job, folder=folder, step=step, video=video)


def _run_all(
    jobs: list[tuple[str, Job]],
    folder: Path | None,
    arguments: argparse.Namespace,
    video: bool,
) -> int:
    """Runs labelled jobs one after the other and sums up; jobs that are finished are left alone.

    Args:
      jobs: Labels and jobs; each job's run folder has its label's name.
      folder: Folder of the run folders, to go on with; None for a new one.
      arguments: Arguments of the command.
      video: Film the trained policies.
    """
    from ..experiments.trained import run_folder
    from ..learners import formats
    from . import run

    if folder is None:
        for _, job in jobs:
            checked(job.check)  # all, before the first takes its time
        first = jobs[0][1]
        name = arguments.file and Path(arguments.file).stem
        folder = run_folder.create_run_folder(
            arguments.out, name or first.config.algorithm, first.env
        )
        plan = {"jobs": [(label, job.params()) for label, job in jobs], **formats.STAMP}
        run_folder.write_file(folder / PLAN, json.dumps(plan, indent=2) + "\n")
    print(f"{len(jobs)} runs in {folder}")
    given_up = []
    for label, job in jobs:
        part = folder / label
        if not (part / run_folder.EVALUATION).exists():
            print(f"\n== {label}")
            part.mkdir(exist_ok=True)
            status = run.run_job(job, folder=part, video=video)
            if status == run.GIVEN_UP:  # the other runs are none the worse
                given_up.append(label)
            elif status:
                print(f"go on with all of them:\n  jax-agents train --resume {folder}")
                return status
    ended = [label for label, _ in jobs if label not in given_up]
    if ended:
        _summarise(folder, ended)
    if given_up:
        print(f"given up: {', '.join(given_up)}", file=sys.stderr)
    return run.GIVEN_UP if given_up else 0


def _read_plan(path: Path, modules: str | None) -> list[tuple[str, Job]]:
    """The labels and jobs that `_run_all` wrote."""
    from ..experiments.trained.modules import import_modules
    from ..learners import formats

    try:
        plan = json.loads(path.read_text())
        formats.check_format(path.parent, plan)
        jobs = plan["jobs"]
        for _, params in jobs:
            checked(import_modules, path.parent, params, ("run", "env"), modules)
        return [(label, Job.from_params(params, path.parent, modules)) for label, params in jobs]
    except formats.FormatError as error:
        raise UserError(str(error)) from error
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} is damaged: {error}") from error


def _summarise(folder: Path, labels: list[str]) -> None:
    from ..evaluation import summarize
    from ..experiments.trained import run_folder

    scores: dict[str, list[float]] = {}
    for label in labels:
        evaluation = json.loads((folder / label / run_folder.EVALUATION).read_text())
        variant = label.rpartition("seed_")[0].rstrip("_") or "all seeds"
        mean = evaluation["return_mean"]
        scores.setdefault(variant, []).append(float("nan") if mean is None else mean)
    summary = {
        variant: summarize(values) | {"seeds": len(values)} for variant, values in scores.items()
    }
    run_folder.write_file(folder / SUMMARY, json.dumps(summary, indent=2) + "\n")
    print("\ngreedy average returns: interquartile mean over seeds [95 % interval], worst")
    for variant, s in summary.items():
        print(
            f"  {variant}: {s['iqm']:.1f} [{s['low']:.1f}, {s['high']:.1f}], {s['min']:.1f} "
            f"({s['seeds']} seeds)"
        )
    print(f"summary: {folder / SUMMARY}")


def _new_jobs(arguments: argparse.Namespace, config: Mapping[str, Any]) -> list[tuple[str, Job]]:
    """The labels and jobs of a command, for each variant of the settings and each seed."""
    from ..experiments.sweeps import search_space
    from ..experiments.tuned import examples as tuned
    from . import run

    if arguments.file is None:
        if arguments.run is None or arguments.env is None:
            raise UserError(
                "train needs --run and --env, such as --run DQN --env CartPole-v1 (or -f TUNED, "
                "or --resume RUN)"
            )
        experiments = [tuned.Experiment("", arguments.run, arguments.env)]
    else:
        if arguments.run is not None or arguments.env is not None:
            raise UserError("-f says what to run and where; leave --run and --env out")
        experiments = checked(tuned.load, arguments.file)
    jobs = []
    for experiment in experiments:
        if arguments.num_gpus is None and experiment.num_gpus is not None:
            run.use_gpus(experiment.num_gpus)
        for variant, values in checked(search_space.variants, {**experiment.config, **config}):
            for i in range(arguments.num_seeds or 1):
                seed = (arguments.seed or 0) + i
                name = experiment.name if len(experiments) > 1 else ""
                label = "_".join(part for part in (name, variant, f"seed_{seed}") if part)
                jobs.append((label, _new_job(arguments, experiment, values, seed)))
    return jobs


def _new_job(
    arguments: argparse.Namespace, experiment: "Experiment", values: dict[str, Any], seed: int
) -> Job:
    from ..experiments.configs import presets
    from ..experiments.training import reports

    stop = experiment.stop
    if arguments.steps is not None:  # schedules follow the length of the run
        values = values | {"num_steps": arguments.steps}
        stop = None
    config = checked(presets.make_config, experiment.run, values)
    if arguments.stop is not None:
        stop = read_json(arguments.stop, "--stop")
    runner = arguments.runner or experiment.runner or config.default_runner
    num_workers = experiment.num_workers if arguments.num_workers is None else arguments.num_workers
    if runner == "vector":
        config = config.vectorized()
    job = Job(
        config,
        experiment.env,
        seed,
        runner,
        arguments.replay or "auto",
        checked(reports.check_stop, {STEPS: config.num_steps} if stop is None else stop),
        10 if arguments.checkpoint_freq is None else arguments.checkpoint_freq,
        bool(arguments.monitor or experiment.monitor),
        (2 if num_workers is None else num_workers) if runner == "ray" else None,
    )
    return job.planned()


def _resumed(arguments: argparse.Namespace) -> tuple[Job, Path, int | None]:
    """The job of a run folder with the options of a command, the folder, and the step if given."""
    from ..experiments.trained import run_folder
    from ..experiments.training import reports
    from .run import read_job

    folder, step = checked(run_folder.find_run, arguments.resume)
    job = read_job(folder, arguments.modules)
    _refuse(arguments, _FIXED, folder / run_folder.PARAMS)
    changes: dict[str, Any] = {"monitor": job.monitor or bool(arguments.monitor)}
    if arguments.steps is not None:
        changes["stop"] = {STEPS: arguments.steps}
    if arguments.stop is not None:
        changes["stop"] = checked(reports.check_stop, read_json(arguments.stop, "--stop"))
    if arguments.checkpoint_freq is not None:
        changes["checkpoint_freq"] = arguments.checkpoint_freq
    longer = dataclasses.replace(job, **changes).planned()
    if longer.config.num_steps != job.config.num_steps:
        print(
            f"its schedules end at {longer.config.num_steps:,} steps from now on, no longer at "
            f"{job.config.num_steps:,}"
        )
    return longer, folder, step


def _refuse(arguments: argparse.Namespace, names: Sequence[str], holds: Path) -> None:
    for name in names:
        if getattr(arguments, name) is not None:
            raise UserError(
                f"--{name.replace('_', '-')} cannot be changed when resuming ({holds} holds); "
                "leave it out"
            )
