"""Checkpoints: folders of a state and a replay buffer, which are whole or not there at all."""

import contextlib
import errno
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..envs.types import Tree
from ..replay.replay import ReplayBuffer
from . import checkpoint_files as files
from .formats import STAMP, FormatError, check_format

_STATE = "state"
_REPLAY = "replay"
_MANIFEST = "checkpoint.json"
_NAME = re.compile(r"checkpoint_(\d{8,})")
_WRITING = ".writing-"
_DELETING = ".deleting-"


class CheckpointError(Exception):
    """Raised for a checkpoint that cannot be read or does not fit.

    The message names the file and says what to do.
    """


class Checkpointer:
    """The newest `keep` checkpoints in a folder, `checkpoint_00000012` and so on.

    Each is written under another name, synced to the disk and then renamed, so that a process that
    is killed, or a disk that is full, leaves the earlier ones whole. What dead processes left
    behind is removed by the next `save`. One process may save at a time; any number may restore.

    A run's steps ascend. So a `save` is refused where the folder has checkpoints of the same step,
    or of later ones, that this object has neither written nor restored: they are another run's, or
    another course of this one, and nobody's work is deleted for it.

    Args:
      folder: Folder of the checkpoints, made by the first `save`.
      keep: Number of checkpoints to keep, at least 1.

    Attributes:
      folder: Folder of the checkpoints.
      keep: Number of checkpoints to keep.
      followed: Step that this object wrote or restored last; None if it has done neither.

    Raises:
      ValueError: if `keep` is less than 1.
    """

    def __init__(self, folder: str | os.PathLike[str], keep: int = 3):
        if keep < 1:
            raise ValueError(f"Checkpointer: expected keep >= 1, got {keep}")
        self.folder = Path(folder).absolute()
        self.keep = keep
        self.followed: int | None = None

    def steps(self) -> list[int]:
        """Returns the steps of the checkpoints that are there, ascending."""
        names = (
            [_NAME.fullmatch(path.name) for path in self.folder.iterdir()]
            if self.folder.is_dir()
            else []
        )
        return sorted(int(match[1]) for match in names if match)

    def latest(self) -> int | None:
        """Returns the step of the newest checkpoint; None if there is none."""
        return max(self.steps(), default=None)

    def path(self, step: int) -> Path:
        """Returns the folder of the checkpoint of a step, which need not be there."""
        return self.folder / f"checkpoint_{step:08d}"

    def save(
        self,
        step: int,
        state: Tree,
        replay: ReplayBuffer | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Path:
        """Writes a checkpoint, in place of one of the same step that it wrote before.

        Args:
          step: Number of the checkpoint.
          state: Tree of arrays; typed random keys may be among them. The entries of a dict are
            written apart, so that each can be read without the others.
          replay: Buffer that is saved in a folder of its own inside the checkpoint; None for none.
          metadata: Mapping of anything that JSON can hold.

        Returns:
          The folder of the checkpoint.

        Raises:
          CheckpointError: if there are others of this step or later ones; nothing is changed then.
          OSError: if it could not be written, because of a full disk, say; the earlier checkpoints
            are as they were.
        """
        own = step == self.followed
        others = [other for other in self.steps() if other > step or (other == step and not own)]
        if others:
            raise CheckpointError(
                f"step {step} is not saved in {self.folder}: there are checkpoints of steps "
                f"{others}, of another run or a later course of this one. Choose another "
                f"folder; or go on from them (restore); or delete them first, with "
                f"discard_after({step - 1})"
            )
        target = self._write(step, state, replay, metadata)
        for old in self.steps()[: -self.keep]:
            self._delete(self.path(old))
        return target

    def replace(self, step: int, state: Tree) -> None:
        """Writes a checkpoint, and only then deletes all others, also those of later steps."""
        self._write(step, state, None, None)
        for other in self.steps():
            if other != step:
                self._delete(self.path(other))

    def _write(
        self,
        step: int,
        state: Tree,
        replay: ReplayBuffer | None,
        metadata: Mapping[str, Any] | None,
    ) -> Path:
        target = self.path(step)
        draft = self._unused(_WRITING)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._clean()
            draft.mkdir()
            for name, part in _parts(state).items():
                files.write_state(draft / _STATE / name, part)
            if replay is not None:
                replay.save(draft / _REPLAY)
            manifest = {
                **STAMP,
                "step": step,
                "metadata": dict(metadata or {}),
                "leaves": files.describe_leaves(state),
                "files": files.digests(draft, hashed=_STATE),
            }
            (draft / _MANIFEST).write_text(json.dumps(manifest, indent=1, allow_nan=False))
            files.sync(draft)
            if target.exists():
                self._delete(target)
            os.rename(draft, target)
            files.sync_folder(self.folder)
        except Exception as error:
            shutil.rmtree(draft, ignore_errors=True)
            if not files.is_disk_error(error):
                raise
            steps = self.steps()
            whole = f"those of steps {steps} are whole" if steps else "there is no earlier one"
            number = getattr(error, "errno", None) or errno.ENOSPC
            message = (
                f"{target} could not be written: {os.strerror(number)}; {whole}. "
                "Free space, then resume"
            )
            raise OSError(number, message, str(target)) from error
        self.followed = step
        return target

    def restore(
        self, template: Tree, replay: ReplayBuffer | None = None, step: int | None = None
    ) -> tuple[Tree, dict[str, Any]]:
        """Reads a checkpoint.

        Args:
          template: Tree with the structure, shapes and dtypes of the state that was saved; or a
            dict with some of its entries, which are then all that is read.
          replay: Buffer whose contents are replaced by those saved; None reads none.
          step: Number of the checkpoint; None reads the newest.

        Returns:
          The state, and the metadata that was saved with it.

        Raises:
          FileNotFoundError: if there is no such checkpoint.
          CheckpointError: if it is damaged, or of another kind of state or replay; nothing but
            `replay` can have changed.
        """
        step = self.latest() if step is None else step
        if step is None or not self.path(step).is_dir():
            have = f"steps {self.steps()}" if self.steps() else "none"
            number = "" if step is None else f" of step {step}"
            raise FileNotFoundError(f"no checkpoint{number} in {self.folder}; there are {have}")
        path = self.path(step)
        with self._explained(step, path):
            manifest = self.read_manifest(step)
            files.check_digests(path, manifest["files"], hashed=_STATE)
            parts, saved = _parts(template), manifest["leaves"]
            if "" not in parts:
                saved = {name: saved[name] for name in saved if name.split("/")[0] in parts}
            _check_leaves(path, saved, files.describe_leaves(template))
            read = {name: files.read_state(path / _STATE / name, parts[name]) for name in parts}
            state = read.get("", read)
        if replay is not None:
            with self._explained(step, path / _REPLAY):
                replay.load(path / _REPLAY)
        self.followed = step
        return state, manifest["metadata"]

    def adopt(self, source: str | os.PathLike[str]) -> int:
        """Copies a checkpoint from elsewhere into the folder, in place of one of the same step.

        Args:
          source: Folder of the checkpoint.

        Returns:
          The step of the checkpoint.

        Raises:
          CheckpointError: if `source` is not a checkpoint.
        """
        try:
            step = json.loads((Path(source) / _MANIFEST).read_text())["step"]
        except (OSError, ValueError, KeyError) as error:
            raise CheckpointError(
                f"{source} is not a checkpoint: it has no {_MANIFEST} that could be read"
            ) from error
        if self.path(step).resolve() != Path(source).resolve():
            draft = self._unused(_WRITING)
            shutil.copytree(source, draft)
            if self.path(step).exists():
                self._delete(self.path(step))
            os.rename(draft, self.path(step))
        return step

    def read_manifest(self, step: int) -> dict[str, Any]:
        """Reads the description of a checkpoint: `step`, `metadata`, `leaves` and `files`.

        Args:
          step: Number of the checkpoint.

        Raises:
          CheckpointError: if it is damaged.
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
        """Deletes the checkpoints that are newer than `step`, to go on from an older one."""
        for newer in [other for other in self.steps() if other > step]:
            self._delete(self.path(newer))

    def discard(self, step: int) -> None:
        """Deletes the checkpoint of a step, if it is there."""
        if self.path(step).is_dir():
            self._delete(self.path(step))

    @contextlib.contextmanager
    def _explained(self, step: int, path: Path) -> Iterator[None]:
        """Turns errors into a `CheckpointError` that names the file and the checkpoint before."""
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
        doomed = self._unused(_DELETING)  # never half a checkpoint under its own name
        os.rename(path, doomed)
        shutil.rmtree(doomed, ignore_errors=True)

    def _unused(self, prefix: str) -> Path:
        return self.folder / f"{prefix}{uuid.uuid4().hex}"

    def _clean(self) -> None:
        """Removes what dead processes left behind."""
        for path in self.folder.iterdir():
            if path.name.startswith((_WRITING, _DELETING)):
                shutil.rmtree(path, ignore_errors=True)


def _parts(state: Tree) -> dict[str, Tree]:
    """Returns the parts that are written apart: a dict's entries, or the whole, called ""."""
    named = isinstance(state, dict) and all(str(name).isidentifier() for name in state)
    return dict(state) if named and state else {"": state}


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
            "the configuration and the environment that it was saved with"
        )


def _first_line(error: Exception) -> str:
    text = (
        f"{error.strerror}: {error.filename}"
        if isinstance(error, OSError) and error.filename
        else str(error)
    )
    lines = text.strip().splitlines() or [type(error).__name__]
    return lines[0][:300]
