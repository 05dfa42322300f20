"""`jax-agents serve`, and `rollout --address`: acting over HTTP."""

import argparse
import http.client
import os
from typing import Any

from .errors import UserError, checked
from .run import load_agent, load_trainer, make_trainer

_TOKEN = "JAX_AGENTS_TOKEN"  # better than an option, which other users of the machine can see


def add_command(commands: Any) -> None:
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
        "--train", action="store_true", help="learn from the clients' episodes, and save at the end"
    )
    serve.set_defaults(command=_serve)


def add_token(command: argparse.ArgumentParser) -> None:
    """Adds the option for the server's secret."""
    command.add_argument(
        "--token",
        default=os.environ.get(_TOKEN),
        help=f"the server's secret (the variable {_TOKEN})",
    )


def rollout_at(address: str, arguments: argparse.Namespace) -> int:
    """Episodes in the run's environment, in which a server chooses the actions."""
    from ..experiments.trained import run_folder
    from ..serving import PolicyClient, PolicyServerError
    from ..serving.rollout import remote_returns

    if arguments.video:
        raise UserError("--video: films what a checkpoint does; leave out --address")
    folder, _ = checked(run_folder.find_run, arguments.path)
    trainer = checked(make_trainer, checked(run_folder.read_params, folder), None)
    client = checked(PolicyClient, address, arguments.token)
    show = lambda i, episode_return: print(f"episode {i}: return {episode_return:g}", flush=True)
    env = trainer.make_environment(preprocess=False)  # the server preprocesses
    options = {"seed": trainer.evaluation_seed, "training_enabled": False, "on_episode": show}
    try:
        checked(lambda: remote_returns(env, client, arguments.episodes, **options))
    except PolicyServerError as error:
        raise UserError(f"{address}: {error}") from error
    except (OSError, http.client.HTTPException) as error:
        raise UserError(
            f"{address}: no answer ({getattr(error, 'strerror', None) or error})"
        ) from error
    finally:
        env.close()
        trainer.close()
    return 0


def _serve(arguments: argparse.Namespace) -> int:
    from ..experiments.trained import run_folder
    from ..serving import from_trainer as command

    trained: Any = load_trainer(arguments.path) if arguments.train else load_agent(arguments.path)
    held = checked(run_folder.lock, trained.run_folder) if arguments.train else None
    announce = lambda address: print(
        f"serving at {address}, its page at {address}/docs; Ctrl-C ends it", flush=True
    )
    options = {
        "host": arguments.host,
        "port": arguments.port,
        "token": arguments.token,
        "train": arguments.train,
    }
    try:
        path = checked(lambda: command.serve(trained, **options, on_listening=announce))
        if arguments.train:
            print(
                f"checkpoint: {path}"
                if path
                else "nothing was learned, so there is no new checkpoint"
            )
    finally:
        if held is not None:
            trained.close()
            held.close()
    return 0
