"""`jax-agents replay-server`: a Reverb server of its own."""

import argparse
from typing import Any

from .errors import UserError, checked


def add_command(commands: Any) -> None:
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
        "--checkpoint-seconds", type=float, metavar="SECONDS", help="save so often, too"
    )
    server.set_defaults(command=_replay_server)


def _replay_server(arguments: argparse.Namespace) -> int:
    from ..replay.reverb import server

    given = {
        "name": arguments.table,
        "capacity": arguments.capacity,
        "sequence_length": arguments.sequence_length,
        "stride": arguments.stride,
        "min_size": arguments.min_size,
    }
    given = {name: value for name, value in given.items() if value is not None}
    if arguments.priority_exponent is not None and arguments.sampler != "prioritized":
        raise UserError("--priority-exponent: needs --sampler prioritized")
    if arguments.sampler == "prioritized":
        given["priority_exponent"] = (
            0.6 if arguments.priority_exponent is None else arguments.priority_exponent
        )
    if arguments.tables is not None and (given or arguments.sampler):
        raise UserError("--tables describes the tables; leave out the options of a single one")
    tables = (
        checked(server.read_tables, arguments.tables)
        if arguments.tables is not None
        else [checked(lambda: server.TableDescription(**given))]
    )
    options = {
        "port": arguments.port,
        "everywhere": arguments.everywhere,
        "checkpoint_dir": arguments.checkpoint_dir,
        "checkpoint_seconds": arguments.checkpoint_seconds,
    }
    checked(lambda: server.run(tables, **options))
    return 0
