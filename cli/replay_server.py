"""The command `jax-agents replay-server`: a Reverb server in a process of its own."""

import argparse
from typing import TYPE_CHECKING

from .errors import UserError, checked

if TYPE_CHECKING:
    from ..replay.reverb.server import TableDescription


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the command and its options."""
    server = commands.add_parser(
        "replay-server", help="start a Reverb server that other processes write to and sample from"
    )
    server.add_argument("--table", metavar="NAME", help="the table's name (experience)")
    server.add_argument(
        "--capacity", type=int, metavar="ROWS", help="rows that the table holds (100000)"
    )
    server.add_argument("--sequence-length", type=int, metavar="ROWS", help="rows in a window (2)")
    server.add_argument(
        "--stride", type=int, metavar="ROWS", help="rows between the beginnings of windows (1)"
    )
    server.add_argument("--sampler", choices=["uniform", "prioritized"], help="(uniform)")
    server.add_argument(
        "--priority-exponent", type=float, metavar="ALPHA", help="of --sampler prioritized (0.6)"
    )
    server.add_argument(
        "--min-size",
        type=int,
        metavar="ITEMS",
        help="windows that must be there before sampling (1)",
    )
    server.add_argument(
        "--tables", metavar="FILE", help="JSON: a list of tables, instead of the options above"
    )
    server.add_argument("--port", type=int, help="(any free one)")
    server.add_argument(
        "--everywhere",
        action="store_true",
        help="answer other machines too: anyone, without a password",
    )
    server.add_argument(
        "--checkpoint-dir", metavar="FOLDER", help="save at the end, and load at the start"
    )
    server.add_argument(
        "--checkpoint-seconds", type=float, metavar="SECONDS", help="seconds between two more saves"
    )
    server.set_defaults(command=_replay_server)


def _replay_server(arguments: argparse.Namespace) -> int:
    from ..replay.reverb import server

    tables = _tables(arguments)
    checked(
        lambda: server.run(
            tables,
            port=arguments.port,
            everywhere=arguments.everywhere,
            checkpoint_dir=arguments.checkpoint_dir,
            checkpoint_seconds=arguments.checkpoint_seconds,
        )
    )
    return 0


def _tables(arguments: argparse.Namespace) -> "list[TableDescription]":
    """Returns the tables that the options describe, or those of the file of `--tables`."""
    from ..replay.reverb import server

    prioritized = arguments.sampler == "prioritized"
    if arguments.priority_exponent is not None and not prioritized:
        raise UserError("--priority-exponent: needs --sampler prioritized")
    options = {
        "name": arguments.table,
        "capacity": arguments.capacity,
        "sequence_length": arguments.sequence_length,
        "stride": arguments.stride,
        "min_size": arguments.min_size,
        "priority_exponent": arguments.priority_exponent,
    }
    given = {name: value for name, value in options.items() if value is not None}
    if arguments.tables is None:
        if prioritized:
            given.setdefault("priority_exponent", 0.6)
        return [checked(lambda: server.TableDescription(**given))]
    if given or arguments.sampler:
        raise UserError("--tables describes the tables; leave out the options of a single one")
    return checked(server.read_tables, arguments.tables)
