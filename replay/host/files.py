"""Files of a `HostReplay`: the rows of its ring, and what the buffer adds to them."""

import json
import os
import warnings
import zipfile
import zlib
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .ring import NO_NEXT, Ring

_NAME = "replay.npz"
_CONFIG = ("capacity", "sequence_length", "stride", "priority_exponent")


class Saved(NamedTuple):
    """The contents of a file: arrays of the rows, settings and states, and the file's path."""

    arrays: dict[str, np.ndarray]
    meta: dict[str, Any]
    path: Path


def save(folder: Path, ring: Ring, state: dict[str, Any]) -> None:
    """Writes `folder/replay.npz` by way of a temporary file.

    Args:
      folder: Folder that gets the file; it is made where it is missing.
      ring: Rows to write; nothing may change them meanwhile.
      state: More to write, as JSON.
    """
    meta = {name: getattr(ring, name) for name in _CONFIG} | state
    meta |= {"base": ring.base, "total": ring.total, "max_priority": ring.max_priority}
    meta["leaves"] = ring.layout.describe()
    arrays = ring.arrays() | {"meta": np.frombuffer(json.dumps(meta).encode(), np.uint8)}
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{_NAME}.partial"
    try:
        with open(partial, "wb") as file:
            _write_archive(file, arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, folder / _NAME)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)  # the rename itself
    finally:
        os.close(directory)


def _write_archive(file: Any, arrays: dict[str, np.ndarray]) -> None:
    """Does what np.savez does, which leaves a broken archive open on an error."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def read(folder: Path, leaves: list[str]) -> Saved:
    """Reads a saved file, and checks that it is whole.

    Args:
      folder: Folder that has the file.
      leaves: Description of the rows that are expected, `RowLayout.describe()`.

    Raises:
      FileNotFoundError: The folder has no such file.
      ValueError: The file is damaged, or holds rows of another spec.
    """
    path = folder / _NAME
    if not path.is_file():
        raise FileNotFoundError(f"no saved replay buffer in {folder}: it has no {_NAME}")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        meta = json.loads(arrays.pop("meta").tobytes())
        rows = min(meta["total"] - meta["base"], meta["capacity"])
        if any(len(array) != rows for array in arrays.values()) or not {
            "links",
            "times_sampled",
        } <= set(arrays):
            raise ValueError("its columns differ in length")
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError, OSError) as error:
        raise ValueError(
            f"{path} is damaged and cannot be restored ({error}); restore an earlier checkpoint"
        ) from error
    if meta["leaves"] != leaves:
        lines = [
            f"expected {want}, the file has {have}"
            for want, have in zip_longest(leaves, meta["leaves"], fillvalue="nothing")
            if want != have
        ]
        raise ValueError(f"{path} holds rows of another spec: {'; '.join(lines)}")
    return Saved(arrays, meta, path)


def restore(saved: Saved, ring: Ring) -> bool:
    """Puts saved rows into a ring, whose settings hold; it warns where the saved ones differ.

    Returns:
      True where rows and windows are as they were saved, so that their streams can go on.
    """
    arrays, meta, path = saved
    differ = {name for name in _CONFIG if meta[name] != getattr(ring, name)}
    if differ:
        text = ", ".join(
            f"{name}={meta[name]} (this buffer: {getattr(ring, name)})"
            for name in _CONFIG
            if name in differ
        )
        warnings.warn(f"{path} was saved with {text}; the buffer's own setting holds", stacklevel=3)
    if not differ - {"priority_exponent"}:
        ring.restore(arrays, meta["base"], meta["total"], meta["max_priority"])
        return True
    arrays = _relayout(arrays, meta, ring, new_windows=bool(differ - {"capacity"}))
    # A generation that no earlier key has.
    base = (meta["total"] // meta["capacity"] + 1) * ring.capacity
    ring.restore(arrays, base, base + len(arrays["links"]), meta["max_priority"])
    return False


def _relayout(
    arrays: dict[str, np.ndarray], meta: dict[str, Any], ring: Ring, new_windows: bool
) -> dict[str, np.ndarray]:
    """Returns the arrays of the newest rows that fit into `ring`, from the oldest, in slot 0, on.

    With `new_windows`, windows are laid over the rows again; strides count from the oldest row.
    """
    rows = len(arrays["links"])
    slots = np.arange(meta["total"] - rows, meta["total"]) % meta["capacity"]
    place = np.empty(rows, np.int64)
    place[slots] = np.arange(rows)
    link = arrays["links"][slots]
    successor = link ^ (link >> 31)
    linked = successor != ~NO_NEXT
    successor = np.where(linked, place[np.where(linked, successor, 0)], -1)
    start = link >= 0
    if new_windows:
        start = _window_starts(successor.tolist(), ring.sequence_length, ring.stride)
    drop = max(0, rows - ring.capacity)
    successor = np.where(successor >= 0, successor - drop, ~np.int64(NO_NEXT))
    links = np.where(start, successor, ~successor).astype(np.int32)
    newest = {name: array[slots][drop:] for name, array in arrays.items()}
    if "priorities" in newest:  # a window that is new has none yet
        new = start[drop:] & (newest["links"] < 0)
        newest["priorities"] = np.where(new, meta["max_priority"], newest["priorities"])
        newest["times_sampled"] = np.where(new, 0, newest["times_sampled"])
    return newest | {"links": links[drop:]}


def _window_starts(successors: list[int], sequence_length: int, stride: int) -> np.ndarray:
    """Returns True for each row with which a window begins.

    Args:
      successors: Index of the next row of the same stream for each row; negative where none is.
      sequence_length: Number of rows in a window.
      stride: Number of rows between the beginnings of two windows.
    """
    before = [0] * len(successors)  # rows of the same stream before this one
    ahead = [1] * len(successors)  # rows of the same stream from this one on
    for i, j in enumerate(successors):
        if j >= 0:
            before[j] = before[i] + 1
    for i, j in reversed(list(enumerate(successors))):
        if j >= 0:
            ahead[i] = ahead[j] + 1
    return (np.array(ahead) >= sequence_length) & (np.array(before) % stride == 0)
