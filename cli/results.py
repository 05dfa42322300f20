"""The commands `jax-agents evaluate`, `rollout`, `plot` and `list`."""

import argparse
import json
from pathlib import Path
from typing import Any

from . import modules
from .errors import UserError, at_least, checked
from .run import load_agent
from .serve import add_token, rollout_at


def add_commands(commands: Any) -> None:
    """Adds the commands and their options."""
    for name, text in (
        ("evaluate", "the average return of a trained policy"),
        ("rollout", "episode by episode"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument(
            "path",
            metavar="RUN_OR_CHECKPOINT",
            help="a run folder (its newest checkpoint), or a checkpoint",
        )
        command.add_argument(
            "--episodes", type=int, default=20 if name == "evaluate" else 1, help="(%(default)s)"
        )
        if name == "rollout":
            command.add_argument("--video", metavar="FILE", help="write an MP4 of the episodes")
            command.add_argument(
                "--address", metavar="URL", help="let a server choose the actions (see: serve)"
            )
            add_token(command)
        modules.add_option(command)
        command.set_defaults(command=_evaluate if name == "evaluate" else _rollout)
    plot = commands.add_parser("plot", help="learning curves of runs in one picture")
    plot.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="a run folder, or one with a run for each seed: one curve each",
    )
    plot.add_argument("--out", default="curves.png", metavar="FILE", help="where to (%(default)s)")
    plot.add_argument(
        "--key", default="episode_return_mean", metavar="KEY", help="of the reports (%(default)s)"
    )
    plot.set_defaults(command=_plot)
    listing = commands.add_parser(
        "list", help="the algorithms, their settings, environments, tuned examples and gates"
    )
    listing.add_argument(
        "algorithm", nargs="?", metavar="NAME", help="an algorithm whose settings to show"
    )
    listing.set_defaults(command=_list)


def _evaluate(arguments: argparse.Namespace) -> int:
    at_least(1, arguments.episodes, "--episodes")
    trained = load_agent(arguments.path, arguments.modules)
    returns = checked(trained.evaluate, arguments.episodes)
    spread = f", standard deviation {returns.std():.1f}, {returns.min():g} to {returns.max():g}"
    print(f"greedy average return: {returns.mean():.1f} over {len(returns)} episodes{spread}")
    return 0


def _rollout(arguments: argparse.Namespace) -> int:
    from ..evaluation.video import NO_VIDEO

    at_least(1, arguments.episodes, "--episodes")
    if arguments.address is not None:
        return rollout_at(arguments.address, arguments)
    trained = load_agent(arguments.path, arguments.modules)
    for i, episode_return in enumerate(checked(trained.evaluate, arguments.episodes)):
        print(f"episode {i}: return {episode_return:g}")
    if arguments.video:
        try:
            print(f"video: {trained.video(arguments.video, arguments.episodes)}")
        except NO_VIDEO as error:
            raise UserError(f"no video: {error or type(error).__name__}") from error
    return 0


def _plot(arguments: argparse.Namespace) -> int:
    from ..evaluation import plot_learning_curve
    from ..experiments.sweeps.analysis import on_common_steps

    curves = {}
    for run in arguments.runs:
        path = Path(run)
        runs = [
            points
            for points in (_points(folder, arguments.key) for folder in _run_folders(path))
            if points
        ]
        if not runs:
            raise UserError(
                f"{path}: no reports with {arguments.key!r} in it, or in the folders in it"
            )
        curves[path.name] = runs
    num_runs = sum(map(len, curves.values()))
    steps, lines = checked(on_common_steps, curves)
    path = plot_learning_curve(steps, lines, arguments.out, ylabel=arguments.key)
    print(
        f"{len(curves)} curves of {num_runs} runs, up to {steps[-1]:,.0f} steps, which all have: "
        f"{path}"
    )
    return 0


def _run_folders(path: Path) -> list[Path]:
    """A run's folder; or those of its seeds, if it holds several runs."""
    from ..experiments.trained import run_folder

    checked(run_folder.find_run, path)
    if (path / run_folder.PARAMS).is_file():
        return [path]
    return sorted(part.parent for part in path.glob(f"*/{run_folder.PARAMS}"))


def _points(folder: Path, key: str) -> list[tuple[float, float]]:
    from ..experiments.trained import run_folder

    results = run_folder.read_results(folder)
    return [
        (r["num_env_steps_sampled_lifetime"], r[key])
        for r in results
        if isinstance(r.get(key), int | float)
    ]


def _list(arguments: argparse.Namespace) -> int:
    from ..experiments import PRESETS
    from ..experiments.configs import presets
    from ..experiments.gates import table as gates
    from ..experiments.trained.environments import JAX_ENVIRONMENTS, OWN_ENVIRONMENTS
    from ..experiments.tuned import examples as tuned

    if arguments.algorithm is not None:
        modules.use_working_directory()
        preset = checked(presets.find_preset, arguments.algorithm)
        print(
            f"{arguments.algorithm}: {preset.description}\nsettings (--config) and their defaults:"
        )
        for key, value in preset.config.settings().items():
            print(f"  {key} = {json.dumps(value)}")
        return 0
    print("algorithms (--run); jax-agents list NAME shows an algorithm's settings:")
    for name, preset in PRESETS.items():
        print(f"  {name}: {preset.description}")
    print("environments (--env): every gymnasium id; written in JAX too, for --runner device:")
    print(f"  {', '.join(JAX_ENVIRONMENTS)}; and in JAX alone {', '.join(OWN_ENVIRONMENTS)}")
    print("tuned examples (train -f), and what they reach:")
    for name in tuned.names():
        for experiment in tuned.load(name):
            print(f"  {name}: {experiment.run} on {experiment.env}. {experiment.reaches}")
    print("learning gates (what pytest -m learning holds the agents to):")
    for gate in gates.GATES:
        print(
            f"  {gate.name}: {gate.algorithm} on {gate.environment} reaches {gate.gate:g} in "
            f"{gate.steps:,} steps"
        )
    return 0
