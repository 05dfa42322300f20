"""Ray actors as a `Supervisor` sees them: how they fail, what they answer, and what they run."""

import collections
import dataclasses
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple


class Failure(NamedTuple):
    """The failure of an actor.

    Attributes:
      actor: Index of the actor.
      generation: Number of times that it had been recreated.
      cause: "error" if a call of its object has raised, "died" if its process has ended, "hung" if
        it did not answer in time.
      message: Traceback, or another account of the failure.
    """

    actor: int
    generation: int
    cause: Literal["error", "died", "hung"]
    message: str


class Answer(NamedTuple):
    """The answer to a call.

    Attributes:
      actor: Index of the actor.
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
      timeout: Seconds in which a call must be answered, counted from the answer to the call before
        it, compilation included; a slower actor is treated as hung.
      start_timeout: Seconds for an actor to start.
      max_restarts: Number of times in a row, without an answer, that an actor is recreated.
      backoff: Seconds before an actor is recreated for the first time; they double with each
        failure in a row.
      options: Ray's options for each actor, such as {"num_cpus": 1}. By default actors
        reserve nothing, so that any number of them starts.
      on_failure: Function that takes each `Failure`; None for a Python warning.

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
    """The place of one actor, which stays when the actor is recreated.

    Attributes:
      index: Index of the actor.
      generation: Number of times that the actor has been recreated.
      in_a_row: Number of failures without an answer between them.
      handle: Ray's handle of the actor; None while there is none.
      pid: Id of the actor's process, once it is known.
      ready: True once the actor has started.
      pending: Calls without an answer, the oldest first, with their references.
      since: Time when the oldest call could begin, or when a dead actor is to be recreated.
    """

    def __init__(self, index: int):
        self.index = index
        self.generation = 0
        self.in_a_row = 0
        self.handle: Any = None
        self.pid: int | None = None
        self.ready = False
        self.pending: collections.deque[tuple[int, Any]] = collections.deque()
        self.since = 0.0

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

    It is made in a function, so that cloudpickle sends it by value, and a worker need not import
    this module first.
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
            """Builds the object, and returns the id of the process.

            Args:
              make: Function from the index and the generation of the actor to the object.
              actor: Index of the actor.
              generation: Number of times that it has been recreated.
              where: Path of the file that gets the traceback of a slow call, for the supervisor to
                read.
              timeout: Seconds after which a call is taken as hung.
            """
            self.made = make(actor, generation)
            self.timeout = timeout
            try:
                self.file: int | None = os.open(where, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            except OSError:  # this is another machine, without that folder
                self.file = None
            return os.getpid()

        def call(self, method: str, *args: Any) -> Any:
            """Calls a method of the object; a slow one has its traceback written to the file."""
            import faulthandler

            if self.file is not None:
                if os.lseek(self.file, 0, os.SEEK_CUR) > 0:  # a call before this one was slow
                    os.ftruncate(self.file, 0)
                    os.lseek(self.file, 0, os.SEEK_SET)
                # Before the timeout, when the supervisor reads it.
                faulthandler.dump_traceback_later(0.8 * self.timeout, file=self.file)
            try:
                return getattr(self.made, method)(*args)
            finally:
                faulthandler.cancel_dump_traceback_later()

        def close(self) -> None:
            """Closes the object, if it has a method for that."""
            getattr(self.made, "close", lambda: None)()

    return Host
