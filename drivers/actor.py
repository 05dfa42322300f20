"""Actors as a `Supervisor` sees them: how they fail, what they answer, and what they run."""

import collections
import dataclasses
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple


class Failure(NamedTuple):
    """The failure of an actor.

    Attributes:
      actor: Number of the actor.
      generation: Number of times that it had been recreated.
      cause: "error" if its object has raised, "died" if its process has ended, "hung" if it did not
        answer in time.
      message: Traceback, or another account of the failure.
    """

    actor: int
    generation: int
    cause: Literal["error", "died", "hung"]
    message: str


class Answer(NamedTuple):
    """The answer to a call.

    Attributes:
      actor: Number of the actor.
      generation: Number of times that it had been recreated.
      call: Number of the call.
      value: Value that the call returned.
      failure: Failure of the actor before it answered; None if it did answer.
    """

    actor: int
    generation: int
    call: int
    value: Any
    failure: Failure | None = None


@dataclasses.dataclass(frozen=True)
class Supervision:
    """Rules by which a `Supervisor` recreates actors.

    Args:
      timeout: Seconds in which a call must be answered, once those before it are; an actor that
        takes longer hangs. Compilation counts.
      start_timeout: Seconds for an actor to start.
      max_restarts: Number of times in a row, without an answer, that an actor is recreated.
      backoff: Seconds before it is recreated for the first time; they double with each failure in a
        row.
      options: Ray's options for each actor, such as {"num_cpus": 1}. Without any, actors reserve
        nothing, and any number fits.
      on_failure: Function that takes each `Failure`; None warns.

    Raises:
      ValueError: if a number is out of range.
    """

    timeout: float = 60.0
    start_timeout: float = 120.0
    max_restarts: int = 5
    backoff: float = 0.5
    options: Mapping[str, Any] | None = None
    on_failure: Callable[[Failure], None] | None = None

    def __post_init__(self) -> None:
        if self.max_restarts < 0 or self.backoff < 0 or min(self.timeout, self.start_timeout) <= 0:
            raise ValueError(
                "expected max_restarts >= 0, backoff >= 0 and timeouts above 0, got "
                f"max_restarts={self.max_restarts}, backoff={self.backoff}, "
                f"timeout={self.timeout}, start_timeout={self.start_timeout}"
            )


class Slot:
    """The place of one actor: who is in it, and which calls it has not answered."""

    def __init__(self, index: int):
        self.index = index
        self.generation = 0
        self.in_a_row = 0  # failures without an answer between them
        self.handle: Any = None
        self.pid: int | None = None
        self.ready = False
        self.pending: collections.deque[tuple[int, Any]] = collections.deque()
        self.since = 0.0  # when the oldest call could begin; or when the actor is to be recreated

    def add(self, call: int, ref: Any) -> None:
        """Adds a call to those that are not answered."""
        if not self.pending:
            self.since = time.monotonic()
        self.pending.append((call, ref))


def describe_failure(failure: Failure) -> str:
    """Returns a failure in words."""
    verb = {"error": "raised", "died": "died", "hung": "hung"}[failure.cause]
    return f"actor {failure.actor}, generation {failure.generation}, {verb}:\n{failure.message}"


def host_class() -> type:
    """Returns the class of all actors.

    It is made in a function, so that cloudpickle sends it by value.
    """

    class Host:
        """Builds the object of an actor, and calls its methods."""

        def build(
            self,
            make: Callable[[int, int], Any],
            actor: int,
            generation: int,
            where: str,
            timeout: float,
        ) -> int:
            """Builds the object, and returns the id of the process."""
            self.made = make(actor, generation)
            self.timeout = timeout
            try:
                self.file: int | None = os.open(where, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            except OSError:  # on another machine
                self.file = None
            return os.getpid()

        def call(self, method: str, *args: Any) -> Any:
            """Calls a method of the object, and notes where it is if that takes long."""
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
            """Closes the object, if it has a method for that."""
            getattr(self.made, "close", lambda: None)()

    return Host
