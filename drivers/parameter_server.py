"""The newest parameters for acting, published once per version: in this process, or in a Ray actor
that outlives failures.
"""

import contextlib
import os
import pickle
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ..envs.types import Tree
from .ray_runtime import cpu_environment, import_ray

_LARGE = 100_000  # bytes; smaller parameters travel in the answer itself
_PULL_SECONDS = 5.0  # after which an actor goes on with what it has


class ParameterServer:
    """Keeps the newest version of the parameters, and gives it to whoever has an older one.

    A version is any number that grows, such as the number of updates. With `path` it writes
    snapshots there, and starts from the last one. A snapshot is a pickle: let it be read where you
    trust the file.

    Args:
      path: a file for snapshots; None: there are none.
      save_seconds: the least time between two snapshots.

    Attributes:
      version: of the parameters that it has; -1 before there are any.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None, *, save_seconds: float = 5.0):
        self.version = -1
        self._params: Tree = None
        self._path = None if path is None else Path(path)
        self._save_seconds, self._saved_at = save_seconds, float("-inf")
        # the first version pushed here may be older than the snapshot's: a learner that resumes
        self._least = -1
        if self._path is not None and self._path.exists():
            with open(self._path, "rb") as file:
                self.version, self._params = pickle.load(file)

    def push(self, version: int, params: Tree, *, wait: bool = True) -> bool:
        """Publishes `params` (copied, as NumPy) as `version`; whether it did: the version already
        pushed is passed over.

        The first push after a start is taken even if a snapshot is newer, since a learner may
        resume from before it. `wait` is for `RemoteParameterServer`.

        Raises:
          ValueError: the version is older than the last one pushed, or negative.
          TypeError: a leaf is a typed random key.
        """
        if version < max(0, self._least):
            raise ValueError(
                f"version {version} is older than {self._least}, which was pushed before; "
                "versions must grow"
            )
        if version == self._least:
            return False
        self._params = to_host(params)
        self.version = self._least = version
        if self._path is not None and time.monotonic() - self._saved_at >= self._save_seconds:
            self.save()
        return True

    def pull_if_newer(self, have: int = -1) -> tuple[int, Tree] | None:
        """The newest version and its parameters (NumPy, not to be written to), or None if `have` is
        not older than that.
        """
        return (self.version, self._params) if self.version > have else None

    def save(self) -> None:
        """Writes a snapshot: the file is replaced in one step, when the new one is whole on disk.

        Raises:
          ValueError: there is no path.
        """
        if self._path is None:
            raise ValueError("this ParameterServer has no path to save to; pass path=...")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_name(f".{self._path.name}.partial")
        try:
            with open(draft, "wb") as file:
                pickle.dump((self.version, self._params), file, protocol=5)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, self._path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        self._saved_at = time.monotonic()

    def close(self) -> None:
        """Writes the last snapshot, if there is a path for it."""
        if self._path is not None and self.version >= 0:
            self.save()


class RemoteParameterServer:
    """A `ParameterServer` in a Ray actor. The object can be sent to other actors, which then pull
    from the same one.

    Ray makes the actor anew if its process dies: then it has its last snapshot, or nothing until
    the next push. Who cannot reach it goes on with the parameters that they have.

    Args:
      path: of snapshots, on the machine of the actor.
      save_seconds: the least time between two snapshots.
      timeout: seconds to wait until a push is taken, the start of the actor included.

    Attributes:
      version: the newest one pushed by this object; -1 before.
      num_skipped: pushes left out here since the one before was not finished.
      num_unreachable: pulls here that got no answer.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        save_seconds: float = 5.0,
        timeout: float = 120.0,
    ):
        ray = import_ray()
        actor: Any = ray.remote(_Server).options(
            num_cpus=0, max_restarts=-1, runtime_env={"env_vars": cpu_environment()}
        )
        self._actor: Any = actor.remote(path, save_seconds=save_seconds)
        self._timeout = timeout
        self.version = -1
        self.num_skipped = self.num_unreachable = 0
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
        """Publishes, and returns whether it did: with `wait=False` it returns at once, and a push
        is left out while the last one is unfinished.

        Raises:
          ValueError, TypeError: as `ParameterServer.push`.
          TimeoutError: the server did not take it in time (`wait`).
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
        self.version, self._params = version, to_host(params)
        self._pushing = self._actor.push.remote(version, self._params)
        if wait:
            self.repeat(self._pushing)
        return True

    def repeat(self, pushing: Any = None) -> None:
        """Sees that the server has what was pushed last here, which its death may have lost.

        Raises:
          TimeoutError: the server did not take it in time.
        """
        import ray
        from ray import exceptions

        deadline = time.monotonic() + self._timeout
        while self.version >= 0:
            try:
                pushing = (
                    self._actor.push.remote(self.version, self._params)
                    if pushing is None
                    else pushing
                )
                ray.get(pushing, timeout=max(0.0, deadline - time.monotonic()))
                self._pushing = None
                return
            except (
                exceptions.GetTimeoutError,
                exceptions.RayActorError,
            ) as error:  # it may be made anew just now
                if time.monotonic() > deadline:
                    raise TimeoutError(
                        f"the parameter server did not answer in {self._timeout:g} s"
                    ) from error
                time.sleep(0.1)
                pushing = None

    def pull_if_newer(self, have: int = -1) -> tuple[int, Tree] | None:
        """As `ParameterServer.pull_if_newer`; None too if the server cannot be reached."""
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
        """The process of the actor."""
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
    """The actor. Large parameters lie in Ray's object store, a copy on each machine, owned here."""

    def __init__(self, path: Any, *, save_seconds: float):
        super().__init__(path, save_seconds=save_seconds)
        self._shared: Any = []
        self._share()

    def push(self, version: int, params: Tree, *, wait: bool = True) -> bool:
        pushed = super().push(version, params)
        self._share()
        return pushed

    def pull(self, have: int) -> tuple[int, Tree, Any] | None:
        if self.pull_if_newer(have) is None:
            return None
        return self.version, None if self._shared else self._params, self._shared

    def pid(self) -> int:
        return os.getpid()

    def _share(self) -> None:
        import ray

        size = sum(leaf.nbytes for leaf in jax.tree.leaves(self._params))
        # in a list, so that Ray hands on the reference
        self._shared = [ray.put(self._params)] if size > _LARGE else []


def to_host(tree: Tree) -> Tree:
    """A copy of the tree whose leaves are NumPy arrays.

    Raises:
      TypeError: a leaf is a typed random key, which is none; send `jax.random.key_data(key)`.
    """

    def copy(path: Any, leaf: Any) -> np.ndarray:
        if jax.dtypes.issubdtype(getattr(leaf, "dtype", np.float32), jax.dtypes.prng_key):
            name = jax.tree_util.keystr(path)
            raise TypeError(
                f"parameters{name}: expected arrays, got a typed random key; send "
                "jax.random.key_data(key)"
            )
        return np.array(leaf)  # a copy, since JAX's memory may be donated

    return jax.tree_util.tree_map_with_path(copy, tree)
