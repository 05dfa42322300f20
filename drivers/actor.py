"""What a `Supervisor` knows of one actor, what it runs there, and what it tells of it."""

import collections
import os
import time
from collections.abc import Callable
from typing import Any, Literal, NamedTuple


class Failure(NamedTuple):
    """How an actor failed, and the traceback or other account of it.

    `cause` is "error" (what it runs has raised), "died" (its process has ended) or "hung" (it did
    not answer in time).
    """

    actor: int
    generation: int
    cause: Literal["error", "died", "hung"]
    message: str


class Answer(NamedTuple):
    """What call number `call` returned; if the actor failed before it answered, `failure` says
    how.
    """

    actor: int
    generation: int
    call: int
    value: Any
    failure: Failure | None = None


class Slot:
    """One actor's place: who is in it, and what it has not answered."""

    def __init__(self, index: int):
        self.index, self.generation, self.in_a_row = index, 0, 0
        self.handle: Any = None
        self.pid: int | None = None
        self.ready = False
        self.pending: collections.deque[tuple[int, Any]] = collections.deque()
        self.since = 0.0  # when the oldest call could begin; or when the actor is to be made anew

    def add(self, call: int, ref: Any) -> None:
        if not self.pending:
            self.since = time.monotonic()
        self.pending.append((call, ref))


def told(failure: Failure) -> str:
    """A failure in words."""
    what = {"error": "raised", "died": "died", "hung": "hung"}[failure.cause]
    return f"actor {failure.actor}, generation {failure.generation}, {what}:\n{failure.message}"


def host_class() -> type:
    """The class of all actors; made here, since cloudpickle sends what is made in a function by
    value.
    """

    class Host:
        """What an actor runs: it builds the object, and calls its methods."""

        def build(
            self,
            make: Callable[[int, int], Any],
            actor: int,
            generation: int,
            where: str,
            timeout: float,
        ) -> int:
            self.made = make(actor, generation)
            self.timeout = timeout
            try:
                self.file: int | None = os.open(where, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            except OSError:  # on another machine
                self.file = None
            return os.getpid()

        def call(self, method: str, *args: Any) -> Any:
            import faulthandler

            if self.file is not None:
                if os.lseek(self.file, 0, os.SEEK_CUR):  # a call before this one was slow
                    os.ftruncate(self.file, 0)
                    os.lseek(self.file, 0, os.SEEK_SET)
                faulthandler.dump_traceback_later(0.8 * self.timeout, file=self.file)
            try:
                return getattr(self.made, method)(*args)
            finally:
                faulthandler.cancel_dump_traceback_later()

        def close(self) -> None:
            getattr(self.made, "close", lambda: None)()

    return Host
