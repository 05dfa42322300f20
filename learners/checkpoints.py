"""Checkpoints of a state and of replay, in folders that are whole or not there at all."""

import contextlib
import errno
import hashlib
import json
import logging
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..envs.specs import leaf_name
from ..envs.types import Tree
from ..replay.replay import ReplayBuffer
from .formats import STAMP, FormatError, check_format

_STATE = "state"
_REPLAY = "replay"
_MANIFEST = "checkpoint.json"
_NAME = re.compile(r"checkpoint_(\d{8,})")
_LEFTOVERS = (".writing-", ".deleting-")


class CheckpointError(Exception):
    """A checkpoint that cannot be read, or does not fit; the message names the file and what to
    do.
    """


class Checkpointer:
    """The newest `keep` checkpoints in a folder, `checkpoint_00000012` and so on.

    Each is written under another name, synced to the disk and then renamed, so that a process that
    is killed, or a disk that is full, leaves the earlier ones whole. What dead processes left
    behind is removed by the next `save`. One process may save at a time; any number may restore.

    Args:
      folder: made by the first `save`.
      keep: how many to keep, at least 1.

    Raises:
      ValueError: if `keep` is less than 1.
    """

    def __init__(self, folder: str | os.PathLike[str], keep: int = 3):
        if keep < 1:
            raise ValueError(f"Checkpointer: expected keep >= 1, got {keep}")
        self.folder = Path(folder).absolute()
        self.keep = keep

    def steps(self) -> list[int]:
        """The steps of the checkpoints that are there, ascending."""
        names = (
            [_NAME.fullmatch(path.name) for path in self.folder.iterdir()]
            if self.folder.is_dir()
            else []
        )
        return sorted(int(match[1]) for match in names if match)

    def latest(self) -> int | None:
        """The newest checkpoint's step; None if there is none."""
        return max(self.steps(), default=None)

    def path(self, step: int) -> Path:
        """The folder of the checkpoint of a step, whether or not it is there."""
        return self.folder / f"checkpoint_{step:08d}"

    def save(
        self,
        step: int,
        state: Tree,
        replay: ReplayBuffer | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Path:
        """Writes a checkpoint, in place of one of the same step; returns its folder.

        Args:
          step: what to call it.
          state: a tree of arrays; typed random keys may be among them. The entries of a dict are
            written apart, so that some of them can be restored without the others.
          replay: saved in a folder of its own inside the checkpoint.
          metadata: anything that JSON can hold.

        Raises:
          OSError: it could not be written (a full disk, say); the earlier checkpoints are as they
            were.
        """
        target, draft = self.path(step), self.folder / f"{_LEFTOVERS[0]}{uuid.uuid4().hex}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._clean()
            draft.mkdir()
            for name, part in _parts(state).items():
                _write_state(draft / _STATE / name, part)
            if replay is not None:
                replay.save(draft / _REPLAY)
            manifest = {
                **STAMP,
                "step": step,
                "metadata": dict(metadata or {}),
                "leaves": _describe(state),
                "files": _digests(draft),
            }
            (draft / _MANIFEST).write_text(json.dumps(manifest, indent=1, allow_nan=False))
            _sync(draft)
            if target.exists():
                self._delete(target)
            os.rename(draft, target)
            _sync_folder(self.folder)
        except Exception as error:
            shutil.rmtree(draft, ignore_errors=True)
            if not _is_disk_error(error):
                raise
            whole = (
                f"those of steps {self.steps()} are whole"
                if self.steps()
                else "there is no earlier one"
            )
            number = getattr(error, "errno", None) or errno.ENOSPC
            told = f"{target} could not be written: {os.strerror(number)}; {whole}. Free space, then resume"
            raise OSError(number, told, str(target)) from error
        for old in self.steps()[: -self.keep]:
            self._delete(self.path(old))
        return target

    def restore(
        self, template: Tree, replay: ReplayBuffer | None = None, step: int | None = None
    ) -> tuple[Tree, dict[str, Any]]:
        """Reads a checkpoint: the state, and the metadata that was saved with it.

        Args:
          template: a tree with the structure, shapes and dtypes of the state that was saved; or a
            dict with some of its entries, which are then the ones that are read.
          replay: a buffer whose contents to replace by those saved; None leaves them.
          step: which one; None: the newest.

        Raises:
          FileNotFoundError: there is no such checkpoint.
          CheckpointError: it is damaged, or of another kind of state or replay; nothing but
            `replay` can have changed.
        """
        step = self.latest() if step is None else step
        if step is None or not self.path(step).is_dir():
            have = f"steps {self.steps()}" if self.steps() else "none"
            which = "" if step is None else f" of step {step}"
            raise FileNotFoundError(f"no checkpoint{which} in {self.folder}; there are {have}")
        path = self.path(step)
        with self._explained(step, path):
            manifest = self.read_manifest(step)
            _check_digests(path, manifest["files"])
            wanted = _parts(template)
            saved = manifest["leaves"]
            if "" not in wanted:
                saved = {name: saved[name] for name in saved if name.split("/")[0] in wanted}
            _check_leaves(path, saved, _describe(template))
            state = {name: _read_state(path / _STATE / name, wanted[name]) for name in wanted}
            state = state.get("", state)
        if replay is not None:
            with self._explained(step, path / _REPLAY):
                replay.load(path / _REPLAY)
        return state, manifest["metadata"]

    def adopt(self, source: str | os.PathLike[str]) -> int:
        """Copies a checkpoint from elsewhere into the folder, in place of one of its step; returns
        that step.

        Raises:
          CheckpointError: it is none.
        """
        try:
            step = json.loads((Path(source) / _MANIFEST).read_text())["step"]
        except (OSError, ValueError, KeyError) as error:
            raise CheckpointError(
                f"{source} is no checkpoint: it has no {_MANIFEST} that could be read"
            ) from error
        if self.path(step).resolve() != Path(source).resolve():
            draft = self.folder / f"{_LEFTOVERS[0]}{uuid.uuid4().hex}"
            shutil.copytree(source, draft)
            if self.path(step).exists():
                self._delete(self.path(step))
            os.rename(draft, self.path(step))
        return step

    def read_manifest(self, step: int) -> dict[str, Any]:
        """What is known of a checkpoint without its arrays: `step`, `metadata`, `leaves` and
        `files`.

        Raises:
          CheckpointError: it is damaged.
        """
        path = self.path(step) / _MANIFEST
        with self._explained(step, path):
            manifest = json.loads(path.read_text())
            check_format(path.parent, manifest)
            missing = {"step", "metadata", "leaves", "files"} - set(manifest)
            if missing or manifest["step"] != step:
                raise ValueError(f"{path} is not the manifest of step {step}")
            return manifest

    def discard_after(self, step: int) -> None:
        """Deletes the checkpoints that are newer than `step`, as when going on from an older
        one.
        """
        for newer in [other for other in self.steps() if other > step]:
            self._delete(self.path(newer))

    @contextlib.contextmanager
    def _explained(self, step: int, path: Path) -> Iterator[None]:
        try:
            yield
        except CheckpointError:
            raise
        except FormatError as error:
            raise CheckpointError(str(error)) from error
        except Exception as error:
            older = [other for other in self.steps() if other < step]
            advice = (
                f"the one before it is {self.path(older[-1])}: go on from there"
                if older
                else "there is no earlier one"
            )
            raise CheckpointError(
                f"{path} cannot be restored: {_first_line(error)}; {advice}"
            ) from error

    def _delete(self, path: Path) -> None:
        doomed = (
            self.folder / f"{_LEFTOVERS[1]}{uuid.uuid4().hex}"
        )  # never half a checkpoint under its own name
        os.rename(path, doomed)
        shutil.rmtree(doomed, ignore_errors=True)

    def _clean(self) -> None:
        for path in self.folder.iterdir():
            if path.name.startswith(_LEFTOVERS):
                shutil.rmtree(path, ignore_errors=True)


def _parts(state: Tree) -> dict[str, Tree]:
    """The parts of a state that are written apart: a dict's entries, or the whole, called ""."""
    named = isinstance(state, dict) and all(str(name).isidentifier() for name in state)
    return dict(state) if named and state else {"": state}


def _write_state(path: Path, state: Tree) -> None:
    if not jax.tree.leaves(state):
        return
    import orbax.checkpoint as ocp  # takes two seconds

    with _no_log(), ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
        checkpointer.save(path, args=ocp.args.StandardSave(jax.tree.map(_to_file, state)))


def _read_state(path: Path, template: Tree) -> Tree:
    if not jax.tree.leaves(template):
        return template
    import orbax.checkpoint as ocp

    with _no_log(), ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
        saved = checkpointer.restore(
            path, args=ocp.args.StandardRestore(jax.tree.map(_to_file, template))
        )
    return jax.tree.map(_from_file, template, saved)


@contextlib.contextmanager
def _no_log() -> Iterator[None]:
    """Keeps orbax from logging the tracebacks of errors that it raises anyhow, once for each of its
    threads.
    """
    logger = logging.getLogger("absl")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _is_key(leaf: Any) -> bool:
    dtype: Any = getattr(leaf, "dtype", None)
    return jnp.issubdtype(dtype, jax.dtypes.prng_key)


def _to_file(leaf: Any) -> np.ndarray:
    # As key data, since not every orbax knows typed keys; and none stores an array of size 0.
    array = np.asarray(jax.device_get(jax.random.key_data(leaf) if _is_key(leaf) else leaf))
    return array if array.size else np.zeros(1, array.dtype)


def _from_file(template: Any, saved: np.ndarray) -> jax.Array:
    if _is_key(template):
        return jax.random.wrap_key_data(jnp.asarray(saved), impl=jax.random.key_impl(template))
    return jnp.asarray(saved) if np.size(template) else jnp.asarray(template)


def _describe(state: Tree) -> dict[str, str]:
    leaves = jax.tree_util.tree_flatten_with_path(state)[0]
    return {
        leaf_name(path): f"{jnp.asarray(leaf).dtype}{list(np.shape(leaf))}" for path, leaf in leaves
    }


def _check_leaves(path: Path, saved: dict[str, str], wanted: dict[str, str]) -> None:
    differ = [
        f"{name}: saved {saved.get(name, 'nothing')}, expected {wanted.get(name, 'nothing')}"
        for name in dict.fromkeys([*wanted, *saved])
        if saved.get(name) != wanted.get(name)
    ]
    if differ:
        more = f" and {len(differ) - 5} more" if len(differ) > 5 else ""
        raise CheckpointError(
            f"{path} holds another kind of state ({'; '.join(differ[:5])}{more}); restore it with "
            "the configuration and the "
            "environment that it was saved with"
        )


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _digests(folder: Path) -> dict[str, str]:
    """The size of each file, and for the state's also its SHA-256; replay files are large and have
    check sums of their own.
    """
    return {str(path.relative_to(folder)): _digest(path, folder) for path in _files(folder)}


def _digest(path: Path, folder: Path) -> str:
    hashed = path.is_relative_to(folder / _STATE)
    return f"{path.stat().st_size} {hashlib.sha256(path.read_bytes()).hexdigest() if hashed else ''}".strip()


def _check_digests(folder: Path, digests: dict[str, str]) -> None:
    for name, digest in digests.items():
        path = folder / name
        if not path.is_file():
            raise ValueError(f"{path} is missing")
        if _digest(path, folder) != digest:
            raise ValueError(f"{path} is damaged: it is not what was written")


def _sync(folder: Path) -> None:
    for path in _files(folder):
        with open(path, "rb") as file:
            os.fsync(file.fileno())
    for path in [folder, *(p for p in folder.rglob("*") if p.is_dir())]:
        _sync_folder(path)


def _sync_folder(folder: Path) -> None:
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _is_disk_error(error: Exception) -> bool:
    # orbax reports what its C++ code met as a ValueError or RuntimeError with the system's words in
    # it.
    return isinstance(error, OSError) or os.strerror(errno.ENOSPC) in str(error)


def _first_line(error: Exception) -> str:
    text = (
        f"{error.strerror}: {error.filename}"
        if isinstance(error, OSError) and error.filename
        else str(error)
    )
    lines = text.strip().splitlines() or [type(error).__name__]
    return lines[0][:300]
