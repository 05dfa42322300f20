"""A server of the newest parameters in a Ray actor, which outlives failures."""

import contextlib
import os
import time
from typing import Any

import jax

from ..envs.types import Tree
from .parameter_server import ParameterServer, to_host
from .ray_runtime import cpu_environment, start_ray

_LARGE = 100_000  # bytes; smaller parameters travel in the answer itself
_PULL_SECONDS = 5.0  # after which an actor goes on with what it has


class RemoteParameterServer:
    """A `ParameterServer` in a Ray actor, which may be sent to other actors that pull from it.

    Ray recreates the actor if its process dies: then it has its last snapshot, or nothing until the
    next push. Those who cannot reach it go on with the parameters that they have.

    Args:
      path: File for snapshots, on the machine of the actor; None writes none.
      save_seconds: Least number of seconds between two snapshots.
      timeout: Seconds to wait until a push is taken, the start of the actor included.

    Attributes:
      version: Newest version pushed by this object; -1 before.
      num_skipped: Number of pushes left out here, since the one before was not finished.
      num_unreachable: Number of pulls here that got no answer.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        save_seconds: float = 5.0,
        timeout: float = 120.0,
    ):
        ray = start_ray()
        actor: Any = ray.remote(_Server).options(
            num_cpus=0, max_restarts=-1, runtime_env={"env_vars": cpu_environment()}
        )
        self._actor: Any = actor.remote(path, save_seconds=save_seconds)
        self._timeout = timeout
        self.version = -1
        self.num_skipped = 0
        self.num_unreachable = 0
        self._pushing: Any = None
        self._params: Tree = None  # the last pushed

    def __getstate__(self) -> dict[str, Any]:
        return {
            **self.__dict__,
            "version": -1,
            "num_skipped": 0,
            "num_unreachable": 0,
            "_pushing": None,
            "_params": None,
        }

    def push(self, version: int, params: Tree, *, wait: bool = True) -> bool:
        """Publishes parameters.

        Args:
          version: Version of the parameters.
          params: Parameters, of which a copy is sent, as NumPy.
          wait: Wait until they are published. Without it the call returns at once, and a push is
            left out while the last one is unfinished.

        Returns:
          True unless the push was left out, or this version had been pushed already.

        Raises:
          ValueError: As from `ParameterServer.push`.
          TypeError: As from `ParameterServer.push`.
          TimeoutError: if the server did not take them in time (with `wait`).
        """
        import ray

        if version < max(0, self.version):
            raise ValueError(
                f"version {version} is older than {self.version}, which was pushed before; "
                "versions must grow"
            )
        if version == self.version:
            return False
        if self._pushing is not None:
            done = ray.wait([self._pushing], timeout=self._timeout if wait else 0)[0]
            if not done and not wait:
                self.num_skipped += 1
                return False
            self._pushing = None
        self.version = version
        self._params = to_host(params)
        self._pushing = self._actor.push.remote(version, self._params)
        if wait:
            self.repeat(self._pushing)
        return True

    def repeat(self, pushing: Any = None) -> None:
        """Pushes the last parameters again, which the server may have lost with its process.

        Args:
          pushing: Reference to a push that may be enough; None makes one.

        Raises:
          TimeoutError: if the server did not take them in time.
        """
        import ray
        from ray import exceptions

        deadline = time.monotonic() + self._timeout
        while self.version >= 0:
            try:
                if pushing is None:
                    pushing = self._actor.push.remote(self.version, self._params)
                ray.get(pushing, timeout=max(0.0, deadline - time.monotonic()))
                self._pushing = None
                return
            except (exceptions.GetTimeoutError, exceptions.RayActorError) as error:
                # It may be starting again just now.
                if time.monotonic() > deadline:
                    raise TimeoutError(
                        f"the parameter server did not answer in {self._timeout:g} s"
                    ) from error
                time.sleep(0.1)
                pushing = None

    def pull_if_newer(self, have: int = -1) -> tuple[int, Tree] | None:
        """Does as `ParameterServer.pull_if_newer`; None also if the server cannot be reached."""
        import ray
        from ray import exceptions

        try:
            found = ray.get(self._actor.pull.remote(have), timeout=_PULL_SECONDS)
            if found is None:
                return None
            version, params, shared = found
            return version, ray.get(shared[0], timeout=_PULL_SECONDS) if shared else params
        except exceptions.RayError:
            self.num_unreachable += 1
            return None

    def pid(self) -> int:
        """Returns the id of the actor's process."""
        import ray

        return ray.get(self._actor.pid.remote(), timeout=self._timeout)

    def close(self) -> None:
        """Writes the last snapshot, and ends the actor; may be called twice."""
        import ray
        from ray import exceptions

        if not ray.is_initialized():
            return
        with contextlib.suppress(exceptions.RayError):  # it may be gone already
            ray.get(self._actor.close.remote(), timeout=_PULL_SECONDS)
        ray.kill(self._actor)


class _Server(ParameterServer):
    """The actor, which keeps large parameters in Ray's object store, once on each machine."""

    def __init__(self, path: Any, *, save_seconds: float):
        super().__init__(path, save_seconds=save_seconds)
        self._shared: Any = []
        self._share()

    def push(self, version: int, params: Tree, *, wait: bool = True) -> bool:
        """Publishes parameters, and puts large ones into the object store."""
        pushed = super().push(version, params)
        self._share()
        return pushed

    def pull(self, have: int) -> tuple[int, Tree, Any] | None:
        """Returns the version, the parameters or None, and a list with a reference to them."""
        if self.pull_if_newer(have) is None:
            return None
        return self.version, None if self._shared else self._params, self._shared

    def pid(self) -> int:
        """Returns the id of this process."""
        return os.getpid()

    def _share(self) -> None:
        import ray

        size = sum(leaf.nbytes for leaf in jax.tree.leaves(self._params))
        # In a list, so that Ray hands on the reference.
        self._shared = [ray.put(self._params)] if size > _LARGE else []


def reachable_server(
    given: ParameterServer | RemoteParameterServer | None, num_actors: int
) -> ParameterServer | RemoteParameterServer:
    """Returns the server given, or a fresh one that actors can reach.

    Args:
      given: Server; None makes one.
      num_actors: Number of actors; 0 for none but this process.

    Raises:
      ValueError: if actors cannot reach the server.
    """
    if num_actors and isinstance(given, ParameterServer):
        raise ValueError(
            "parameters: actors cannot reach a ParameterServer in this process; use "
            "RemoteParameterServer"
        )
    if given is not None:
        return given
    return RemoteParameterServer() if num_actors else ParameterServer()
