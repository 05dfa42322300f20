"""Closing of what is still open when the program ends."""

import atexit
import weakref
from typing import Protocol


class Closable(Protocol):
    """A buffer or queue with a connection."""

    def close(self) -> None:
        """Ends the use of the connection; may be called twice."""


_open: "weakref.WeakSet[Closable]" = weakref.WeakSet()


def close_at_exit(closable: Closable) -> None:
    """Has `closable` closed when the program ends, so that its last rows reach their server."""
    _open.add(closable)


@atexit.register
def _close_all() -> None:
    for closable in list(_open):
        closable.close()
