"""Reverb and TensorFlow, imported when the first buffer is made, which takes 7 s and 500 MB."""

import contextlib
import functools
import importlib.util
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from types import ModuleType

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


def has_reverb() -> bool:
    """Returns True where Reverb is installed; does not import it, which takes seconds."""
    return importlib.util.find_spec("reverb") is not None


@functools.cache
def import_reverb() -> tuple[ModuleType, ModuleType]:
    """Returns the modules (reverb, tensorflow).

    TensorFlow is kept off the GPU, which it would otherwise fill beside JAX.

    Raises:
      ImportError: They are not installed; the message names the command that installs them, or the
        buffer to use where they do not exist.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import reverb
        import tensorflow as tf
    except ImportError as error:
        raise ImportError(
            f"ReverbReplay needs Reverb and TensorFlow ({error}): pip install "
            '"jax-agents[reverb]" on Linux x86-64 with Python 3.11 (this is '
            f"{sys.platform}, Python {sys.version_info.major}.{sys.version_info.minor}); "
            "elsewhere use HostReplay"
        ) from error
    # Where TensorFlow was already running, its devices are its user's decision.
    with contextlib.suppress(RuntimeError):
        tf.config.set_visible_devices([], "GPU")
    return reverb, tf


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drops Reverb's routine lines, which its C++ code writes to stderr unconditionally.

    All other lines pass.
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
