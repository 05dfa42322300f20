"""A Reverb server as a process, with checkpoints; by default it answers its own machine alone."""

import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..buffer import BufferSettings
from ..tables.layout import is_layout_table
from .connection import make_layout_table, make_table
from .runtime import has_reverb, import_reverb, quiet

# Names in a checkpoint folder; Reverb deletes all else in its own, DATA.
DESCRIPTION = "tables.json"
DATA = "reverb"


@dataclass(frozen=True)
class TableDescription:
    """One table, for windows as `RemoteReplay` and `ReverbReplay` of the same arguments write them.

    Args:
      name: Name of the table.
      capacity: Number of rows; the oldest window goes first.
      sequence_length: Number of rows in a window.
      stride: Number of rows between the beginnings of two windows.
      priority_exponent: Power of the priority to which a window's probability is proportional; None
        samples uniformly.
      min_size: Number of windows that must be there before any can be sampled.

    Raises:
      ValueError: No table could have a setting; the message names it.
    """

    name: str = "experience"
    capacity: int = 100_000
    sequence_length: int = 2
    stride: int = 1
    priority_exponent: float | None = None
    min_size: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ValueError(f"a table's name must be a text, got {self.name!r}")
        exponent = self.priority_exponent
        try:
            BufferSettings(
                self.capacity, self.sequence_length, self.stride, exponent, self.min_size, timeout=1
            )
        except (ValueError, TypeError) as error:  # the exponent may be a text, from a file
            raise ValueError(f"table {self.name!r}: {error}") from error

    @property
    def max_items(self) -> int:
        """Windows that the table holds: those of one stream of `capacity` rows."""
        return 1 + (self.capacity - self.sequence_length) // self.stride


def read_tables(path: str | Path) -> list[TableDescription]:
    """Reads the tables in a JSON file: a list of objects with the fields of `TableDescription`.

    Raises:
      FileNotFoundError: There is no such file.
      ValueError: It is not such a list; the message names the field.
    """
    try:
        values = json.loads(Path(path).read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not JSON ({error})") from error
    if (
        not isinstance(values, list)
        or not values
        or not all(isinstance(value, dict) for value in values)
    ):
        raise ValueError(
            f"{path}: expected a list of tables, such as "
            '[{"name": "experience", "capacity": 100000}]'
        )
    known = set(TableDescription.__dataclass_fields__)
    for value in values:
        if set(value) - known:
            raise ValueError(
                f"{path}: unknown settings {sorted(set(value) - known)}; "
                f"a table has {sorted(known)}"
            )
    return [TableDescription(**value) for value in values]


class ReplayServer:
    """A running Reverb server.

    Args:
      tables: Descriptions of its tables; their names must differ.
      port: Port to listen at; None takes any free one.
      everywhere: True answers other machines too, anyone, without a password; False answers this
        machine alone.
      checkpoint_dir: Folder that checkpoints are written to, and loaded from at the start; None:
        there are none.

    Raises:
      ImportError: Reverb is not installed.
      ValueError: Two tables have one name, or the checkpoints are of other tables.
      OSError: The port is taken, or the server cannot be limited to this machine.
    """

    def __init__(
        self,
        tables: Sequence[TableDescription],
        *,
        port: int | None = None,
        everywhere: bool = False,
        checkpoint_dir: str | Path | None = None,
    ):
        names = [table.name for table in tables]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"expected at least one table, and each by its own name, got {names}")
        if not has_reverb():
            raise ImportError(
                'a replay server needs Reverb: pip install "jax-agents[reverb]" (Linux x86-64, '
                "Python 3.11). Run it where that is; RemoteReplay reaches it from any Python"
            )
        reverb, _ = import_reverb()
        if port is not None:
            with socket.socket() as probe:  # Reverb itself would end the process
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("", port))
        self._saves = checkpoint_dir is not None
        checkpointer = None
        if checkpoint_dir is not None:
            _check_folder(Path(checkpoint_dir), tables)
            checkpointer = reverb.checkpointers.DefaultCheckpointer(
                str(Path(checkpoint_dir) / DATA)
            )
        with quiet():
            made = [
                make_table(table.name, table.max_items, table.min_size, table.priority_exponent)
                for table in tables
            ]
            self._server = reverb.Server(
                made + [make_layout_table(name) for name in names],
                port=port,
                checkpointer=checkpointer,
            )
        self.port = self._server.port
        self.address = f"{socket.gethostname() if everywhere else 'localhost'}:{self.port}"
        if not everywhere:
            try:
                _limit_to_loopback(self.port)
            except OSError:
                self.stop()
                raise
        self._client = reverb.Client(f"localhost:{self.port}")

    def sizes(self) -> dict[str, int]:
        """Returns the number of items in each table."""
        tables = self._client.server_info(timeout=30)
        return {
            name: info.current_size for name, info in tables.items() if not is_layout_table(name)
        }

    def checkpoint(self) -> str:
        """Writes all tables to the checkpoint folder, and returns the path.

        Raises:
          RuntimeError: There is no such folder, or its disk is full.
        """
        if not self._saves:
            raise RuntimeError("this server keeps no checkpoints; start it with checkpoint_dir=...")
        with quiet():
            return self._client.checkpoint()

    def stop(self) -> None:
        """Stops the server; may be called twice."""
        with quiet():
            self._server.stop()


def run(
    tables: Sequence[TableDescription],
    *,
    port: int | None = None,
    everywhere: bool = False,
    checkpoint_dir: str | Path | None = None,
    checkpoint_seconds: float | None = None,
) -> None:
    """Serves until SIGTERM or SIGINT.

    Then, and every `checkpoint_seconds`, it writes a checkpoint if it has a folder.

    Args:
      tables: Descriptions of the tables.
      port: Port to listen at; None takes any free one.
      everywhere: True answers other machines too; see `ReplayServer`.
      checkpoint_dir: Folder of the checkpoints; None: there are none.
      checkpoint_seconds: Seconds between checkpoints; None writes one at the end only.

    Raises:
      ImportError, ValueError, OSError: see `ReplayServer`.
    """
    if checkpoint_seconds is not None and (checkpoint_dir is None or not checkpoint_seconds > 0):
        raise ValueError(
            "checkpoint_seconds needs checkpoint_dir, and must be positive, got "
            f"{checkpoint_seconds!r}"
        )
    ended = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: ended.set())
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        server = ReplayServer(
            tables, port=port, everywhere=everywhere, checkpoint_dir=checkpoint_dir
        )
        try:
            held = ", ".join(f"{name} ({size} items)" for name, size in server.sizes().items())
            print(f"replay server at {server.address}: {held}", flush=True)
            while not ended.wait(checkpoint_seconds):
                _save(server)
            if checkpoint_dir is not None:
                _save(server, last=True)
        finally:
            server.stop()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _save(server: ReplayServer, last: bool = False) -> None:
    try:
        print(f"checkpoint: {server.checkpoint()}", flush=True)
    except Exception as error:
        if last:
            raise OSError(f"the last checkpoint could not be written: {error}") from error
        print(f"no checkpoint: {error}", file=sys.stderr, flush=True)


def _check_folder(folder: Path, tables: Sequence[TableDescription]) -> None:
    """Notes the tables of the folder's checkpoints, whose settings Reverb takes over silently.

    Raises:
      ValueError: The checkpoints are of other tables.
    """
    wanted = [asdict(table) for table in tables]
    (folder / DATA).mkdir(parents=True, exist_ok=True)
    file = folder / DESCRIPTION
    if file.exists() and json.loads(file.read_text()) != wanted:
        raise ValueError(
            f"the checkpoints in {folder} are of other tables ({file.read_text()}), got "
            f"{json.dumps(wanted)}; use another "
            "folder, or the saved settings"
        )
    draft = file.with_suffix(".new")
    draft.write_text(json.dumps(wanted))
    os.replace(draft, file)


def _limit_to_loopback(port: int) -> None:
    """Has the sockets that listen at `port` answer this machine alone.

    Reverb listens everywhere, and has no setting for it.
    """
    limited = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            copy = os.dup(int(name))
        except OSError:
            continue  # closed meanwhile
        try:
            found = socket.socket(fileno=copy)
        except OSError:  # no socket
            os.close(copy)
            continue
        with found:
            if (
                found.family not in (socket.AF_INET, socket.AF_INET6)
                or found.getsockname()[1] != port
            ):
                continue
            if found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                found.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
                limited += 1
            else:  # it came in before
                found.shutdown(socket.SHUT_RDWR)
    if not limited:
        raise OSError(
            f"no socket listens at port {port}, so that it cannot be limited to this machine"
        )
