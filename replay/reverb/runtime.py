"""Reverb and TensorFlow, imported when the first buffer is made (7 s and 500 MB), and the server
inside this process.
"""

import contextlib
import functools
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

_QUIET_LOCK = threading.Lock()
_ROUTINE = (
    b"Initializing TFRecordCheckpointer",
    b"Loading latest checkpoint",
    b"Loading checkpoint from",
    b"Loading and verifying metadata",
    b"Metadata for table",
    b"uccessfully loaded",
    b"Still reading compressed",
    b"Completed reading",
    b"Finished loading",
    b"Started replay server",
    b"Shutting down replay server",
    b"Stored checkpoint to",
    b"Sampler and server are owned by the same process",
)


@functools.cache
def import_reverb() -> tuple[ModuleType, ModuleType]:
    """The modules (reverb, tensorflow). TensorFlow is kept off the GPU, which it would otherwise
    fill beside JAX.

    Raises:
      ImportError: naming the command that installs them, or the buffer to use where they do not
        exist.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import reverb
        import tensorflow as tf
    except ImportError as error:
        raise ImportError(
            f'ReverbReplay needs Reverb and TensorFlow ({error}): pip install "jax-agents[reverb]" on Linux x86-64 with Python '
            f"3.11 (this is {sys.platform}, Python "
            f"{sys.version_info.major}.{sys.version_info.minor}); elsewhere use HostReplay"
        ) from error
    with contextlib.suppress(
        RuntimeError
    ):  # TensorFlow was already running: then its devices are its user's decision
        tf.config.set_visible_devices([], "GPU")
    return reverb, tf


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drops Reverb's routine lines, which its C++ code writes to stderr unconditionally; all other
    lines pass.
    """
    with _QUIET_LOCK, tempfile.TemporaryFile() as caught:
        sys.stderr.flush()
        stderr = os.dup(2)
        try:
            os.dup2(caught.fileno(), 2)
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            caught.seek(0)
            for line in caught:
                if not (line.startswith(b"[reverb/") and any(text in line for text in _ROUTINE)):
                    os.write(2, line)
            os.close(stderr)


class EmbeddedServer:
    """A Reverb server in this process, its address and a client, and the folder that its
    checkpointer has to itself.
    """

    def __init__(self, server: Any, client: Any, folder: Path):
        self._server, self.client, self._folder = server, client, folder
        self.address = client.server_address

    def stop(self) -> None:
        """Stops the server and deletes its folder. Readers must have gone: they would wait for its
        return for ever.
        """
        with quiet():
            self._server.stop()
        self._server = None
        shutil.rmtree(self._folder, ignore_errors=True)


def serve(
    table: str,
    signature: dict[str, Any],
    max_items: int,
    min_size: int,
    priority_exponent: float | None,
    folder: Path,
) -> EmbeddedServer:
    """Starts a server with one table on a free port, from the checkpoint in `folder` where there is
    one.
    """
    reverb, _ = import_reverb()
    uniform = priority_exponent is None
    made = reverb.Table(
        table,
        reverb.selectors.Uniform() if uniform else reverb.selectors.Prioritized(priority_exponent),
        reverb.selectors.Fifo(),
        max_items,
        reverb.rate_limiters.MinSize(
            min_size
        ),  # never blocks a writer, so that one thread can write and read
        signature=signature,
    )
    return start(made, folder)


def start(table: Any, folder: Path) -> EmbeddedServer:
    """Starts a server with this table on a free port, from the checkpoint in `folder` where there
    is one.
    """
    reverb, _ = import_reverb()
    with quiet():
        server = reverb.Server(
            [table], checkpointer=reverb.checkpointers.DefaultCheckpointer(str(folder))
        )
    # Under this name readers notice that they share the process, and bypass gRPC.
    return EmbeddedServer(server, reverb.Client(f"localhost:{server.port}"), folder)


def table_info(client: Any, address: str, table: str, timeout: float) -> Any:
    """What the server says of a table; through the client, since after a restore Reverb 0.14's
    `Table` objects are dead.

    Raises:
      ConnectionError: no answer within `timeout` seconds.
      ValueError: there is no such table.
    """
    try:
        tables = client.server_info(timeout=max(1, round(timeout)))
    except Exception as error:
        told = f"{type(error).__name__}: {error}"
        raise ConnectionError(
            f"no Reverb server answers at {address} ({told}); is it running?"
        ) from error
    if table not in tables:
        raise ValueError(
            f"the server at {address} has no table {table!r}, only {sorted(tables)}; pass table=..."
        )
    return tables[table]
