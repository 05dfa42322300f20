"""Ray actors that are recreated when they raise, die or hang."""

import shutil
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from .actor import Answer, Failure, Slot, Supervision, describe_failure, host_class
from .ray_runtime import cpu_environment, start_ray

_MOST_BACKOFF = 30.0  # seconds
_DEFAULTS = Supervision()


class ActorError(RuntimeError):
    """Raised if an actor failed again and again; the message has its last failure."""


class Supervisor:
    """n actors, each in a process of its own, and the calls that they have not answered.

    `ray.util.ActorPool` hands calls to whichever actor is idle, takes a dead actor for an idle one,
    waits for a hung one for ever, and queues without bound. Here each call goes to an actor by its
    number, unanswered calls are bounded, and an actor that fails is recreated, as the next
    generation, after a pause that doubles with each failure in a row. Its unanswered calls are
    lost, and come back as answers with a `failure`: who needs them submits them again.

    With 0 actors there is one object in this process, and no Ray: `submit` runs the call, and what
    it raises is raised there.

    Args:
      make: Function of (actor, generation) that builds the object of an actor. It is sent there by
        cloudpickle, so it should build what it needs rather than refer to it. If the object has a
        method `close`, that is called at the end.
      num_actors: Number n of actors. Ray is started on this machine if `ray.init` was not called
        before.
      max_in_flight: Number of calls of an actor that may be unanswered.
      supervision: Rules by which actors are recreated.

    Attributes:
      num_answers: Number of calls answered.
      num_lost: Number of calls lost to failures.
      num_failures: Number of failures by cause; each is followed by a restart.

    Raises:
      ValueError: if a number is out of range.
    """

    def __init__(
        self,
        make: Callable[[int, int], Any],
        num_actors: int,
        *,
        max_in_flight: int = 2,
        supervision: Supervision = _DEFAULTS,
    ):
        if num_actors < 0 or max_in_flight < 1:
            raise ValueError(
                f"expected num_actors >= 0 and max_in_flight >= 1, got {num_actors=}, "
                f"{max_in_flight=}"
            )
        self.num_answers = 0
        self.num_lost = 0
        self.num_failures = {"error": 0, "died": 0, "hung": 0}
        self._make = make
        self._max_in_flight = max_in_flight
        self._rules = supervision
        self._calls = 0
        self._closed = False
        self._answers: list[Answer] = []  # not collected yet
        self._local = None if num_actors else make(0, 0)
        self._slots = [Slot(index) for index in range(num_actors)]
        if num_actors:
            ray = start_ray()
            # By value, so that an actor imports only what `make` needs.
            options = {
                "num_cpus": 0,
                "runtime_env": {"env_vars": cpu_environment()},
                **(supervision.options or {}),
            }
            self._actor_class: Any = ray.remote(host_class()).options(**options)
            # Actors that hang write there where they are.
            self._folder = Path(tempfile.mkdtemp(prefix="jax_agents_"))
            for slot in self._slots:
                self._start(slot)

    def __len__(self) -> int:
        return max(1, len(self._slots))

    def __enter__(self) -> "Supervisor":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def free(self) -> list[int]:
        """Returns the actors that take another call now, those with the fewest calls first."""
        if self._closed:
            return []
        if self._local is not None:
            return [0] if len(self._answers) < self._max_in_flight else []
        slots = [
            slot for slot in self._slots if slot.ready and len(slot.pending) < self._max_in_flight
        ]
        return [slot.index for slot in sorted(slots, key=lambda slot: len(slot.pending))]

    def submit(self, actor: int, method: str, *args: Any) -> int:
        """Calls a method of an actor that is `free`.

        Args:
          actor: Number of the actor.
          method: Name of the method.
          args: Arguments of the method.

        Returns:
          The number of the call, which its `Answer` will have.

        Raises:
          RuntimeError: if the actor is not free, or all are closed.
        """
        if actor not in self.free():
            raise RuntimeError(
                f"actor {actor} takes no call now; submit to one of free(), which are {self.free()}"
            )
        self._calls += 1
        if self._local is not None:
            self._answers.append(Answer(0, 0, self._calls, getattr(self._local, method)(*args)))
            self.num_answers += 1
            return self._calls
        slot = self._slots[actor]
        slot.add(self._calls, slot.handle.call.remote(method, *args))
        return self._calls

    def collect(self, timeout: float | None = None) -> list[Answer]:
        """Waits until there is an answer, and returns all there are.

        It also finds actors that failed, and recreates them when their time has come: call it
        often.

        Args:
          timeout: Seconds to wait at most; None waits for ever.

        Raises:
          ActorError: if an actor failed more than `max_restarts` times in a row. All actors are
            ended then, as they are if this call is interrupted.
        """
        deadline = float("inf") if timeout is None else time.monotonic() + timeout
        try:
            while not self._closed and self._local is None:
                self._wait(min(deadline, self._next_event()) - time.monotonic())
                self._find_hung()
                for slot in self._slots:
                    if slot.handle is None and time.monotonic() >= slot.since:
                        self._start(slot)
                if self._answers or time.monotonic() >= deadline:
                    break
        except BaseException:
            self.close(grace=0.0)
            raise
        answers, self._answers = self._answers, []
        return answers

    def pids(self) -> list[int | None]:
        """Returns the ids of the actors' processes; None where one is not running yet."""
        return [slot.pid for slot in self._slots]

    def generations(self) -> list[int]:
        """Returns the number of times that each actor was recreated."""
        return [slot.generation for slot in self._slots]

    def close(self, grace: float = 5.0) -> None:
        """Ends all actors. May be called twice.

        Args:
          grace: Seconds that actors which answer get to finish and to close.
        """
        if self._closed:
            return
        self._closed = True
        if self._local is not None:
            getattr(self._local, "close", lambda: None)()
            return
        import ray

        try:
            if grace > 0 and ray.is_initialized():
                refs = [slot.handle.close.remote() for slot in self._slots if slot.ready]
                if refs:
                    ray.wait(refs, num_returns=len(refs), timeout=grace)
        finally:
            for slot in self._slots:
                self._end(slot)
            shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self, slot: "Slot") -> None:
        slot.handle = self._actor_class.remote()
        where = str(self._folder / f"{slot.index}-{slot.generation}")
        place = (slot.index, slot.generation, where)
        slot.add(0, slot.handle.build.remote(self._make, *place, self._rules.timeout))

    def _end(self, slot: "Slot") -> None:
        import ray

        if slot.handle is not None and ray.is_initialized():
            ray.kill(slot.handle)
        slot.handle = slot.pid = None
        slot.ready = False
        slot.pending.clear()

    def _next_event(self) -> float:
        """Returns the time at which the next actor hangs or is to be recreated."""
        return min(
            (slot.since if slot.handle is None else self._limit(slot) for slot in self._slots),
            default=0.0,
        )

    def _limit(self, slot: "Slot") -> float:
        if not slot.pending:
            return float("inf")
        return slot.since + (self._rules.timeout if slot.ready else self._rules.start_timeout)

    def _wait(self, seconds: float) -> None:
        """Takes the answers that are there, or waits for the first that comes."""
        import ray
        from ray import exceptions

        oldest = {slot.pending[0][1]: slot for slot in self._slots if slot.pending}
        if not oldest:
            time.sleep(min(max(0.0, seconds), 0.05))
            return
        # Ray's own wait cannot be interrupted everywhere, so it is never a long one.
        ready, _ = ray.wait(list(oldest), num_returns=1, timeout=min(max(0.0, seconds), 1.0))
        if len(oldest) > 1 and ready:
            ready, _ = ray.wait(list(oldest), num_returns=len(oldest), timeout=0)
        for ref in ready:
            slot = oldest[ref]
            try:
                value = ray.get(ref)
            except exceptions.RayTaskError as error:
                self._fail(slot, "error", str(error))
            except exceptions.RayError as error:
                self._fail(slot, "died", str(error))
            else:
                self._answered(slot, value)

    def _answered(self, slot: "Slot", value: Any) -> None:
        call, _ = slot.pending.popleft()
        slot.since = time.monotonic()
        if not slot.ready:
            slot.ready = True
            slot.pid = value
            return
        slot.in_a_row = 0
        self.num_answers += 1
        self._answers.append(Answer(slot.index, slot.generation, call, value))

    def _find_hung(self) -> None:
        for slot in self._slots:
            if time.monotonic() < self._limit(slot):
                continue
            if slot.ready:
                message = f"no answer in {self._rules.timeout:g} s. It was at:\n{self._where(slot)}"
            else:
                message = (
                    f"not started in {self._rules.start_timeout:g} s: its process waits for "
                    "resources, or `make` hangs"
                )
            self._fail(slot, "hung", message)

    def _where(self, slot: "Slot") -> str:
        try:
            return (self._folder / f"{slot.index}-{slot.generation}").read_text() or "(unknown)"
        except OSError:
            return "(unknown, since it runs on another machine)"

    def _fail(self, slot: "Slot", cause: Literal["error", "died", "hung"], message: str) -> None:
        failure = Failure(slot.index, slot.generation, cause, message)
        lost = [call for call, _ in slot.pending if call]
        self.num_failures[cause] += 1
        self.num_lost += len(lost)
        self._answers += [Answer(slot.index, slot.generation, call, None, failure) for call in lost]
        self._end(slot)
        slot.generation += 1
        slot.in_a_row += 1
        pause = self._rules.backoff * 2 ** (slot.in_a_row - 1)
        slot.since = time.monotonic() + min(_MOST_BACKOFF, pause)
        described = describe_failure(failure)
        if slot.in_a_row > self._rules.max_restarts:
            times = "once" if slot.in_a_row == 1 else f"{slot.in_a_row} times in a row"
            raise ActorError(
                f"failed {times}, and max_restarts={self._rules.max_restarts}. {described}"
            )
        if self._rules.on_failure is None:
            warnings.warn(described, RuntimeWarning, stacklevel=3)
        else:
            self._rules.on_failure(failure)
