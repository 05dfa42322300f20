"""The command `jax-agents serve`, and `rollout --address`: acting over HTTP."""

import argparse
import http.client
import os
from typing import TYPE_CHECKING

from . import modules
from .errors import UserError, checked
from .run import load_agent, load_trainer, read_job

if TYPE_CHECKING:
    from ..experiments.trained.agent import TrainedAgent
    from ..serving.from_trainer import LearnedCheckpoints
    from ..serving.learning import Learning

_TOKEN = "JAX_AGENTS_TOKEN"  # better than an option, which other users of the machine can see


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the command and its options."""
    serve = commands.add_parser(
        "serve", help="let other programs act with a trained policy, over HTTP, and teach it"
    )
    serve.add_argument(
        "path",
        metavar="RUN_OR_CHECKPOINT",
        help="a run folder (its newest checkpoint), or a checkpoint",
    )
    serve.add_argument("--host", default="127.0.0.1", help="the address to listen at (%(default)s)")
    serve.add_argument("--port", type=int, default=8000, help="0: any free one (%(default)s)")
    add_token(serve)
    serve.add_argument(
        "--train",
        action="store_true",
        help="learn from the clients' episodes, and save now and then and at the end",
    )
    serve.add_argument(
        "--checkpoint-seconds",
        type=float,
        metavar="SECONDS",
        help="seconds after an update in which it is saved, with --train (300)",
    )
    modules.add_option(serve)
    serve.set_defaults(command=_serve)


def add_token(command: argparse.ArgumentParser) -> None:
    """Adds the option for the server's secret."""
    command.add_argument(
        "--token",
        default=os.environ.get(_TOKEN) or None,  # an empty variable is none
        help=f"the server's secret (the variable {_TOKEN})",
    )


def rollout_at(address: str, arguments: argparse.Namespace) -> int:
    """Plays episodes in a run's environment with a server's actions; returns the exit status.

    Args:
      address: Address of the server.
      arguments: Arguments of `jax-agents rollout`.

    Raises:
      UserError: if there is no such run, or the server does not answer or refuses.
    """
    from ..experiments.trained import run_folder
    from ..experiments.trained.agent import EVALUATION_SEED
    from ..experiments.trained.environments import host_environment
    from ..serving import PolicyClient, PolicyServerError
    from ..serving.rollout import remote_returns

    if arguments.video:
        raise UserError("--video: films what a checkpoint does; leave out --address")
    folder, _ = checked(run_folder.find_run, arguments.path)
    job = read_job(folder, arguments.modules)
    client = checked(PolicyClient, address, arguments.token)
    # The server preprocesses.
    limit = job.config.max_episode_steps
    env = checked(lambda: host_environment(job.env, None, limit, preprocess=False))
    try:
        checked(
            lambda: remote_returns(
                env,
                client,
                arguments.episodes,
                seed=job.seed + EVALUATION_SEED,
                training_enabled=False,
                on_episode=_print_return,
            )
        )
    except PolicyServerError as error:
        raise UserError(f"{address}: {error}") from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{address}: no answer ({reason})") from error
    finally:
        env.close()
    return 0


def _print_return(episode: int, episode_return: float) -> None:
    print(f"episode {episode}: return {episode_return:g}", flush=True)


def _serve(arguments: argparse.Namespace) -> int:
    seconds = arguments.checkpoint_seconds
    if seconds is not None and not (arguments.train and seconds > 0):
        raise UserError(
            f"--checkpoint-seconds {seconds:g}: expected more than 0 seconds, and --train"
        )
    if not arguments.train:
        _run_server(arguments, load_agent(arguments.path, arguments.modules), None)
        return 0
    from ..serving.from_trainer import LearnedCheckpoints, make_learning

    trainer, held = load_trainer(arguments.path, arguments.modules)
    with held:
        learning = checked(make_learning, trainer)
        checkpoints = LearnedCheckpoints(trainer, learning)
        _run_server(arguments, trainer, learning, checkpoints)
        path = checked(checkpoints.save)
        print(f"checkpoint: {path}" if path else "nothing was learned, so no checkpoint was saved")
    return 0


def _run_server(
    arguments: argparse.Namespace,
    trained: "TrainedAgent",
    learning: "Learning | None",
    checkpoints: "LearnedCheckpoints | None" = None,
) -> None:
    from ..serving.from_trainer import serve
    from ..serving.learner_thread import SAVE_SECONDS

    checked(
        lambda: serve(
            trained,
            learning,
            host=arguments.host,
            port=arguments.port,
            token=arguments.token,
            save=None if checkpoints is None else checkpoints.save,
            save_seconds=arguments.checkpoint_seconds or SAVE_SECONDS,
            on_listening=lambda address: print(
                f"serving at {address}, its page at {address}/docs; Ctrl-C ends it", flush=True
            ),
        )
    )
