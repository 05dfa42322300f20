"""The command `jax-agents`: train by name, list what there is, evaluate, film and plot."""

if "." not in __name__:
    raise ImportError(f"import jax_agents.{__name__} instead of {__name__}")

import argparse
import os
import select
import signal
import sys
from collections.abc import Sequence

from . import replay_server, results, serve, train
from .errors import Terminated, UserError, interrupt

_EXAMPLES = """examples:
  jax-agents train --run DQN --env CartPole-v1
  jax-agents train --run PPO --env CartPole-v1 --runner device --num-seeds 5 \\
    --stop '{"episode_return_mean": 450}'
  jax-agents train --run SAC --env Pendulum-v1 --steps 20000 \\
    --config '{"learning_rate": 5e-4, "hidden": [256, 256]}'
  jax-agents train -f cartpole-ppo
  jax-agents train --resume runs/DQN_CartPole-v1_2026-01-31_12-00-00_1a2b
  jax-agents evaluate runs/DQN_CartPole-v1_2026-01-31_12-00-00_1a2b --episodes 100
  jax-agents rollout --video film.mp4 \\
    runs/DQN_CartPole-v1_2026-01-31_12-00-00_1a2b/checkpoints/checkpoint_00000050
  jax-agents serve runs/DQN_CartPole-v1_2026-01-31_12-00-00_1a2b --port 8000
  jax-agents rollout runs/DQN_CartPole-v1_2026-01-31_12-00-00_1a2b --address http://127.0.0.1:8000
  jax-agents replay-server --capacity 1000000 --checkpoint-dir replay
  jax-agents plot runs/DQN_* runs/PPO_* --out curves.png
  jax-agents list
  jax-agents list PPO
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns the exit status.

    The status is 0; 1 for an error of the system, such as a full disk; 2 for a user's mistake; 3
    for a training that was given up, since its weights are no longer finite numbers (its last
    finite checkpoint is kept); 130 after SIGINT and 143 after SIGTERM, at which a run is saved.

    Args:
      argv: Arguments of the command; None for those of the process.
    """
    arguments = _parser().parse_args(argv)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        signal.signal(signal.SIGTERM, interrupt)
        status = arguments.command(arguments)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt as error:
        print("interrupted", file=sys.stderr)
        return 128 + (signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT)
    except UserError as error:
        return _report(error, 2)
    except ValueError as error:
        from ..envs.specs import SpecError

        if not isinstance(error, SpecError):
            raise
        return _report(error, 2)  # the environment breaks what its spaces promise
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _stdout_closed():  # `jax-agents list | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        return _report(_explain(error), 1)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _report(error: Exception | str, status: int) -> int:
    print(f"jax-agents: error: {error}", file=sys.stderr)
    return status


def _explain(error: OSError) -> str:
    """Returns the system's words and, unless they hold it, the name of the file."""
    known = error.filename is None or str(error.filename) in str(error.strerror)
    return f"{error.strerror or error}{'' if known else f': {error.filename}'}"


def _stdout_closed() -> bool:
    """True if standard output is a pipe whose other end is closed."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)  # errors are reported without being asked for
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jax-agents",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    train.add_command(commands, _EXAMPLES)
    results.add_commands(commands)
    serve.add_command(commands)
    replay_server.add_command(commands)
    return parser
