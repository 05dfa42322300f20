"""The command `jax-agents`: train by name, list what there is, evaluate and film what was trained."""

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .experiments import Trainer

_EXAMPLES = """examples:
  jax-agents train --run DQN --env CartPole-v1
  jax-agents train --run DQN --env CartPole-v1 --runner device --stop '{"episode_return_mean": 450}'
  jax-agents train --run DQN --env LunarLander-v3 --steps 200000 --config '{"learning_rate": 5e-4, "hidden": [256, 256]}'
  jax-agents train --resume runs/DQN_CartPole-v1_2026-01-31_12-00-00_1a2b
  jax-agents evaluate runs/DQN_CartPole-v1_2026-01-31_12-00-00_1a2b --episodes 100
  jax-agents rollout runs/DQN_CartPole-v1_2026-01-31_12-00-00_1a2b/checkpoints/checkpoint_00000050 --video film.mp4
  jax-agents list
"""


class UserError(Exception):
    """What a user can put right; the message says how."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status: 0, 1 (a full disk), 2 (a user's mistake) or 130 (interrupted; saved)."""
    arguments = _parser().parse_args(argv)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        return arguments.command(arguments)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except UserError as error:
        print(f"jax-agents: error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `jax-agents list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        where = "" if error.filename is None or str(error.filename) in str(error.strerror) else f": {error.filename}"
        print(f"jax-agents: error: {error.strerror or error}{where}", file=sys.stderr)
        return 1
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jax-agents", description=__doc__, epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    train = commands.add_parser(
        "train", help="train an agent", epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    train.set_defaults(command=_train)
    train.add_argument("--run", metavar="NAME", help="the algorithm, such as DQN (see: jax-agents list)")
    train.add_argument("--env", metavar="ID", help="a gymnasium environment, such as CartPole-v1")
    train.add_argument("--config", metavar="JSON", help="settings of the algorithm, as JSON or the name of a JSON file")
    stop = train.add_mutually_exclusive_group()
    stop.add_argument(
        "--stop", metavar="JSON", help="when to stop, such as '{\"episode_return_mean\": 450}'; the first that is met"
    )
    stop.add_argument("--steps", type=int, metavar="N", help="stop after N environment steps")
    train.add_argument("--seed", type=int, help="of everything that is drawn (0)")
    train.add_argument(
        "--runner", choices=["loop", "device"], help="a Python loop (the default), or JAX environments on device"
    )
    train.add_argument("--replay", choices=["auto", "reverb", "host"], help="of the Python loop (auto: Reverb where installed)")
    train.add_argument("--checkpoint-freq", type=int, metavar="N", help="reports from checkpoint to checkpoint (10)")
    train.add_argument("--out", default="runs", metavar="FOLDER", help="where run folders are made (runs)")
    train.add_argument("--resume", metavar="RUN", help="go on with a run folder, or from one of its checkpoints")
    train.add_argument("--no-video", action="store_true", help="do not film the trained policy")
    for name, text in (("evaluate", "the average return of a trained policy"), ("rollout", "episode by episode")):
        command = commands.add_parser(name, help=text)
        command.add_argument("path", metavar="RUN_OR_CHECKPOINT", help="a run folder (its newest checkpoint), or a checkpoint")
        command.add_argument("--episodes", type=int, default=20 if name == "evaluate" else 1, help="(%(default)s)")
        if name == "rollout":
            command.add_argument("--video", metavar="FILE", help="write an MP4 of the episodes")
        command.set_defaults(command=_evaluate if name == "evaluate" else _rollout)
    commands.add_parser("list", help="the algorithms, their settings, and environments").set_defaults(command=_list)
    return parser


def _train(arguments: argparse.Namespace) -> int:
    import jax

    from .experiments import callbacks, run_folder

    jax.config.update("jax_cpu_enable_async_dispatch", False)  # docs/performance.md, "In a Python loop on a CPU"
    if arguments.checkpoint_freq is not None and arguments.checkpoint_freq < 0:
        raise UserError(f"--checkpoint-freq: expected 0 or more, got {arguments.checkpoint_freq}")
    params, folder, step = _resumed(arguments) if arguments.resume else _new_run(arguments)
    trainer = _checked(_make_trainer, params, folder)  # before a folder is made
    if folder is None:
        folder = run_folder.create_run_folder(arguments.out, params["run"], params["env"])
        trainer.set_run_folder(folder)
    params["replay"] = trainer.replay_name if params["runner"] == "loop" else params["replay"]
    held = _checked(run_folder.lock, folder)
    run_folder.write_params(folder, params)
    print(f"{params['run']} on {params['env']}, {params['runner']} runner; replay: {trainer.replay_reason}")
    print(f"run folder: {folder}", flush=True)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stopper(trainer))
    total = params["stop"].get("num_env_steps_sampled_lifetime")
    trainer.callbacks = (
        callbacks.JsonReports(folder),
        callbacks.CsvReports(folder),
        callbacks.TensorBoard(folder),
        callbacks.Console(total),
    )
    try:
        if arguments.resume and trainer.checkpointer.latest() is not None:
            _checked(trainer.restore, step)
            print(f"resumed after {trainer.num_steps:,} steps, from report {trainer.training_iteration}", flush=True)
        trainer.run(params["stop"], params["checkpoint_freq"])
        for callback in trainer.callbacks:
            callback.on_end(trainer)
        if trainer.interrupted:
            print(f"interrupted and saved after {trainer.num_steps:,} steps; go on with:\n  jax-agents train --resume {folder}")
            return 130
        for number in (signal.SIGINT, signal.SIGTERM):  # all is saved
            signal.signal(number, signal.default_int_handler)
        _finish(trainer, folder, video=not arguments.no_video)
    finally:
        trainer.close()
        held.close()
    return 0


def _new_run(arguments: argparse.Namespace) -> tuple[dict[str, Any], None, None]:
    from . import __version__
    from .experiments import presets, trainer

    if arguments.run is None or arguments.env is None:
        raise UserError("train needs --run and --env, such as --run DQN --env CartPole-v1 (or --resume RUN)")
    values = _json(arguments.config, "--config")
    if arguments.steps is not None:  # schedules follow the length of the run
        values["num_steps"] = _at_least_one(arguments.steps)
    config = _checked(presets.make_config, arguments.run, values)
    stop = {"num_env_steps_sampled_lifetime": config.num_steps} if arguments.stop is None else _json(arguments.stop, "--stop")
    params = {
        "run": arguments.run,
        "env": arguments.env,
        "seed": arguments.seed or 0,
        "runner": arguments.runner or "loop",
        "replay": arguments.replay or "auto",
        "stop": _checked(trainer.check_stop, stop),
        "checkpoint_freq": 10 if arguments.checkpoint_freq is None else arguments.checkpoint_freq,
        "config": presets.to_json(config),
        "version": __version__,
    }
    return params, None, None


def _resumed(arguments: argparse.Namespace) -> tuple[dict[str, Any], Path, int | None]:
    from .experiments import run_folder, trainer

    folder, step = _checked(run_folder.find_run, arguments.resume)
    params = _checked(run_folder.read_params, folder)
    for name in ("run", "env", "seed", "runner", "replay", "config"):
        if getattr(arguments, name) is not None:
            raise UserError(f"--{name} cannot be changed when resuming ({folder}/{run_folder.PARAMS} holds); leave it out")
    if arguments.steps is not None:
        params["stop"] = {"num_env_steps_sampled_lifetime": _at_least_one(arguments.steps)}
    if arguments.stop is not None:
        params["stop"] = _checked(trainer.check_stop, _json(arguments.stop, "--stop"))
    if arguments.checkpoint_freq is not None:
        params["checkpoint_freq"] = arguments.checkpoint_freq
    return params, folder, step


def _make_trainer(params: dict[str, Any], folder: Path | None) -> "Trainer":
    from .experiments import Trainer, make_config

    config = make_config(params["run"], params["config"])
    return Trainer(
        config, params["env"], seed=params["seed"], run_folder=folder, runner=params["runner"], replay=params["replay"]
    )


def _finish(trainer: "Trainer", folder: Path, video: bool) -> None:
    """What a finished run ends with: the greedy average return, the curve and the video."""
    from .evaluation import plot_learning_curve
    from .experiments import run_folder

    returns = trainer.evaluate()
    evaluation = {"return_mean": float(returns.mean()), "returns": returns.tolist(), "num_env_steps": trainer.num_steps}
    run_folder.write_file(folder / run_folder.EVALUATION, json.dumps(evaluation) + "\n")
    print(f"greedy average return: {returns.mean():.1f} over {len(returns)} episodes ({returns.min():g} to {returns.max():g})")
    points = [result for result in run_folder.read_results(folder) if result["episode_return_mean"] is not None]
    if points:
        plot_learning_curve(
            [point["num_env_steps_sampled_lifetime"] for point in points],
            [point["episode_return_mean"] for point in points],
            folder / run_folder.CURVE,
            title=f"{trainer.algorithm} on {trainer.env}",
            ylabel="Return, mean of the last training episodes",
        )
        print(f"learning curve: {folder / run_folder.CURVE}")
    if video:
        try:
            print(f"video: {trainer.video(folder / run_folder.VIDEOS / 'greedy.mp4')}")
        except (ValueError, ImportError) as error:  # an environment without pictures, say
            print(f"no video: {error}")
    checkpointer: Any = trainer.checkpointer  # there is one, since there is a run folder
    print(f"checkpoint: {checkpointer.path(checkpointer.latest())}")
    print(f"run folder: {folder}")


def _restored(path: str) -> "Trainer":
    from .experiments import run_folder

    folder, step = _checked(run_folder.find_run, path)
    params = _checked(run_folder.read_params, folder)
    params["replay"] = "host"  # not used for acting
    trainer = _checked(_make_trainer, params, folder)
    _checked(lambda: trainer.restore(step, acting_only=True))
    print(f"{params['run']} on {params['env']}, {trainer.checkpointer.path(step or trainer.checkpointer.latest())}")
    return trainer


def _evaluate(arguments: argparse.Namespace) -> int:
    trainer = _restored(arguments.path)
    returns = _checked(trainer.evaluate, arguments.episodes)
    spread = f", standard deviation {returns.std():.1f}, {returns.min():g} to {returns.max():g}"
    print(f"greedy average return: {returns.mean():.1f} over {len(returns)} episodes{spread}")
    trainer.close()
    return 0


def _rollout(arguments: argparse.Namespace) -> int:
    trainer = _restored(arguments.path)
    for i, episode_return in enumerate(_checked(trainer.evaluate, arguments.episodes)):
        print(f"episode {i}: return {episode_return:g}")
    if arguments.video:
        print(f"video: {_checked(trainer.video, arguments.video, arguments.episodes)}")
    trainer.close()
    return 0


def _list(arguments: argparse.Namespace) -> int:
    from .experiments import PRESETS, presets, runners

    print("algorithms (--run), and their settings with defaults (--config):")
    for name, preset in PRESETS.items():
        print(f"  {name}: {preset.description}")
        for key, value in presets.to_json(preset.config).items():
            print(f"    {key} = {json.dumps(value)}")
    print("environments (--env): every gymnasium id; written in JAX too, for --runner device:")
    print("  " + ", ".join(runners.JAX_ENVIRONMENTS))
    return 0


def _json(text: str | None, option: str) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        value = json.loads(text if text.lstrip().startswith("{") else Path(text).read_text())
    except ValueError as error:
        raise UserError(f"{option}: not JSON ({error}); quote it for the shell, as in {option} '{{\"key\": 1}}'") from error
    except OSError as error:
        raise UserError(
            f"{option}: expected JSON such as '{{\"key\": 1}}' or a JSON file, got {text!r} ({error.strerror})"
        ) from error
    if not isinstance(value, dict):
        raise UserError(f"{option}: expected a JSON object, got {text!r}")
    return value


def _at_least_one(steps: int) -> int:
    if steps < 1:
        raise UserError(f"--steps: expected at least 1, got {steps}")
    return steps


def _checked(function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls what checks a user's input; its complaints become one line and exit status 2."""
    from .experiments.checkpoints import CheckpointError
    from .experiments.run_folder import RunFolderError

    try:
        return function(*arguments)
    except (ValueError, TypeError, ImportError, FileNotFoundError, CheckpointError, RunFolderError) as error:
        raise UserError(" ".join(str(error).split())) from error


def _stopper(trainer: "Trainer") -> Callable[[int, Any], None]:
    """A signal handler: the first signal ends the report under way and saves, a second one ends at once."""

    def stop(number: int, frame: Any) -> None:
        if trainer.interrupted:
            raise KeyboardInterrupt
        trainer.interrupt()
        print("\ninterrupted: saving (again to end at once)", file=sys.stderr, flush=True)

    return stop
