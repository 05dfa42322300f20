"""Saving and restoring a `HostReplay`; called with its lock held."""

import json
import os
import warnings
import zipfile
import zlib
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .ring import NO_NEXT, power

if TYPE_CHECKING:
    from .replay import HostReplay

_NAME = "replay.npz"
_CONFIG = ("capacity", "sequence_length", "stride", "priority_exponent")


def save(replay: "HostReplay", folder: Path) -> None:
    """Writes `folder/replay.npz` by way of a temporary file."""
    ring, rows = replay._ring, len(replay)
    arrays = {f"column/{name}": column[:rows] for name, column in ring.columns.items()}
    arrays |= {"links": ring.links[:rows], "times_sampled": ring.times_sampled[:rows]}
    if ring.tree is not None:
        arrays["priorities"] = ring.priorities[:rows]
    meta = {name: getattr(replay, name) for name in _CONFIG}
    meta |= {"base": ring.base, "total": ring.total, "max_priority": ring.max_priority}
    meta |= {"rng": replay._rng.bit_generator.state, "own": [s.state() for s in replay._own]}
    meta["leaves"] = replay._layout.describe()
    meta["writers"] = [stream.state() for stream in replay._writers]
    arrays["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{_NAME}.partial"
    try:
        with open(partial, "wb") as file:
            with zipfile.ZipFile(
                file, "w"
            ) as archive:  # what np.savez does, which leaves a broken archive open on an error
                for name, array in arrays.items():
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                        np.lib.format.write_array(member, array, allow_pickle=False)
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


def read(replay: "HostReplay", folder: Path) -> tuple[dict[str, np.ndarray], dict[str, Any], Path]:
    """The arrays and settings in a saved file, whole and of the buffer's row layout, and the file's
    path.
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
    have, want = meta["leaves"], replay._layout.describe()
    if have != want:
        lines = [
            f"expected {w}, the file has {h}"
            for w, h in zip_longest(want, have, fillvalue="nothing")
            if w != h
        ]
        raise ValueError(f"{path} holds rows of another spec: {'; '.join(lines)}")
    return arrays, meta, path


def restore(
    replay: "HostReplay", arrays: dict[str, np.ndarray], meta: dict[str, Any], path: Path
) -> None:
    """Puts what `read` gave into the buffer, whose configuration holds."""
    differ = [name for name in _CONFIG if meta[name] != getattr(replay, name)]
    if differ:
        text = ", ".join(
            f"{name}={meta[name]} (this buffer: {getattr(replay, name)})" for name in differ
        )
        warnings.warn(f"{path} was saved with {text}; the buffer's own setting holds", stacklevel=3)
    exact = not set(differ) & {"capacity", "sequence_length", "stride"}
    if exact:
        base, total = meta["base"], meta["total"]
    else:
        arrays = _lay_anew(
            replay, arrays, meta, relay="sequence_length" in differ or "stride" in differ
        )
        base = (
            meta["total"] // meta["capacity"] + 1
        ) * replay.capacity  # a generation that no earlier key has
        total = base + len(arrays["links"])
    ring, rows = replay._ring, len(arrays["links"])
    ring.reset(base)
    ring.total = total
    for name, column in ring.columns.items():
        column[:rows] = arrays[f"column/{name}"]
    ring.links[:rows], ring.times_sampled[:rows] = arrays["links"], arrays["times_sampled"]
    starts = np.flatnonzero(arrays["links"] >= 0)
    ring.items, ring.max_priority = len(starts), meta["max_priority"]
    if ring.tree is not None and len(starts):
        priorities = (
            arrays["priorities"][starts] if "priorities" in arrays else np.ones(len(starts))
        )
        ring.priorities[starts] = priorities
        ring.tree.set(starts, power(priorities, ring.exponent))
    replay._rng.bit_generator.state = meta["rng"]
    ring.regular = False  # rows of streams that this object may not know: follow the links
    kinds = (
        (replay._own, replay._saved_own, "own"),
        (replay._writers, replay._saved_writers, "writers"),
    )
    for (
        streams,
        later,
        name,
    ) in kinds:  # writers take up the saved streams in the order in which they are made
        for stream in streams:
            stream.restart()
        later[:] = meta[name] if exact else []
        for stream in streams[: len(later)]:
            stream.set_state(later.pop(0))


def _lay_anew(
    replay: "HostReplay", arrays: dict[str, np.ndarray], meta: dict[str, Any], relay: bool
) -> dict[str, np.ndarray]:
    """The newest rows that fit, oldest first from slot 0; windows anew if `relay`, counting the
    stride from the oldest row.
    """
    rows = len(arrays["links"])
    slots = (
        np.arange(max(meta["base"], meta["total"] - meta["capacity"]), meta["total"])
        % meta["capacity"]
    )
    place = np.empty(rows, np.int64)
    place[slots] = np.arange(rows)
    link = arrays["links"][slots]
    following = link ^ (link >> 31)
    linked = following != ~NO_NEXT
    following = np.where(linked, place[np.where(linked, following, 0)], -1)
    start = link >= 0
    if relay:
        position, ahead = (
            [0] * rows,
            [1] * rows,
        )  # rows of the same stream before this one, and from it to the newest
        for i, j in enumerate(following.tolist()):
            if j >= 0:
                position[j] = position[i] + 1
        for i, j in reversed(list(enumerate(following.tolist()))):
            if j >= 0:
                ahead[i] = ahead[j] + 1
        start = (np.array(ahead) >= replay.sequence_length) & (
            np.array(position) % replay.stride == 0
        )
    drop = max(0, rows - replay.capacity)
    following = np.where(following >= 0, following - drop, ~np.int64(NO_NEXT))
    links = np.where(start, following, ~following).astype(np.int32)
    kept = {name: array[slots][drop:] for name, array in arrays.items()}
    if "priorities" in kept:  # a window that is new has none yet
        new = start[drop:] & (arrays["links"][slots][drop:] < 0)
        kept["priorities"] = np.where(new, meta["max_priority"], kept["priorities"])
        kept["times_sampled"] = np.where(new, 0, kept["times_sampled"])
    return kept | {"links": links[drop:]}
