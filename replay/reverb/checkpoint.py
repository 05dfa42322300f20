"""Checkpoints of `ReverbReplay`: Reverb's files, moved to a folder of the user and back.

A saved folder has `reverb.json`, the settings and the name of the folder beside it that has
Reverb's files. The first is replaced atomically after the second is complete, so that a process
killed at any moment leaves a whole checkpoint.
"""

import contextlib
import json
import os
import shutil
import tempfile
import uuid
import warnings
from pathlib import Path
from typing import Any

from .runtime import import_reverb

MANIFEST = "reverb.json"
DATA = "reverb-data-"
RESTORED = "0"  # sorts before the times by which Reverb names checkpoints
_FIXED = ("spec", "sequence_length", "stride", "table")
_NEEDED = {"priority_exponent", "max_items", "min_size", "items", "rows", "max_priority"}


def private_folder(parent: str | Path | None) -> Path:
    """Makes a new empty folder.

    Reverb's checkpointer deletes all that it finds in its folder, except the newest name.

    Args:
      parent: Folder to make it in; None takes the system's temporary folder.
    """
    if parent is not None:
        Path(parent).mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix="jax-agents-reverb-", dir=parent))


def discard(folder: Path) -> None:
    """Deletes a folder, if it is there."""
    shutil.rmtree(folder, ignore_errors=True)


def publish(written: Path, path: Path, settings: dict[str, Any]) -> None:
    """Moves the checkpoint `written` into `path`, in place of the one saved there before."""
    path.mkdir(parents=True, exist_ok=True)
    data = path / f"{DATA}{uuid.uuid4().hex}"
    draft = path / f"{MANIFEST}.{uuid.uuid4().hex}"
    try:
        shutil.move(written, data)
        with open(draft, "w") as file:
            json.dump(settings | {"data": data.name}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path / MANIFEST)
    except BaseException:
        discard(data)
        draft.unlink(missing_ok=True)
        raise
    finally:
        discard(written)
    for older in path.glob(f"{DATA}*"):
        if older != data:
            discard(older)


def restore(
    path: Path, settings: dict[str, Any], parent: str | Path | None
) -> tuple[dict[str, Any], Path]:
    """Returns the saved settings, and a new folder that a server with `settings` can start from.

    Reverb takes a table's settings from the checkpoint and ignores those of the program, so they
    are rewritten in a copy.

    Args:
      path: Folder that `publish` wrote to.
      settings: Settings of the buffer that is loaded.
      parent: Folder to make the new one in; None takes the system's temporary folder.

    Raises:
      FileNotFoundError: Nothing was saved there.
      ValueError: The files are damaged, or cannot serve these settings.
    """
    try:
        saved = json.loads((path / MANIFEST).read_text())
        data = path / saved["data"]
        differing = [name for name in _FIXED if saved[name] != settings[name]]
        if missing := _NEEDED - set(saved):
            raise KeyError(*sorted(missing))
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"no replay buffer was saved in {path}: {MANIFEST} is missing"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path / MANIFEST} is damaged ({type(error).__name__}: {error}); load an older one"
        ) from error
    if differing:
        raise ValueError(
            f"{path} was saved by another kind of buffer: "
            f"{_differences(saved, settings, differing, 'this buffer has')}. "
            "Build this one with the saved settings"
        )
    if (saved["priority_exponent"] is None) != (settings["priority_exponent"] is None):
        raise ValueError(
            f"{path}: priority_exponent: saved {saved['priority_exponent']}, this buffer has "
            f"{settings['priority_exponent']}; "
            "a uniform and a prioritised table cannot be exchanged"
        )
    if saved["items"] > settings["max_items"]:
        raise ValueError(
            f"{path} holds {saved['items']} items, this buffer at most {settings['max_items']}; "
            "raise its capacity"
        )
    differing = [
        name
        for name in ("max_items", "min_size", "priority_exponent")
        if saved[name] != settings[name]
    ]
    if differing:
        warnings.warn(
            f"{path}: this buffer's configuration holds where the saved one differs: "
            f"{_differences(saved, settings, differing, 'now')}",
            stacklevel=3,
        )
    folder = private_folder(parent)
    try:
        copy = folder / RESTORED
        shutil.copytree(data, copy, copy_function=_link_or_copy)
        _rewrite(copy / "tables.tfrecord", settings)
    except Exception as error:
        discard(folder)
        if isinstance(error, ValueError):
            raise
        raise ValueError(
            f"{path}: the saved replay buffer is damaged ({error}); load an older one"
        ) from error
    return saved, folder


def _differences(
    saved: dict[str, Any], settings: dict[str, Any], names: list[str], now: str
) -> str:
    return "; ".join(f"{name}: saved {saved[name]}, {now} {settings[name]}" for name in names)


def check_restored(info: Any, saved: dict[str, Any]) -> None:
    """Raises a ValueError if a server did not get all items: Reverb skips what seems unfinished."""
    if info.current_size != saved["items"]:
        raise ValueError(
            f"{saved['items']} items were saved, and {info.current_size} were read back"
        )


def check_table(info: Any, signature: dict[str, Any], settings: dict[str, Any]) -> None:
    """Raises a ValueError if a server's table is not the one that these settings describe."""
    options = info.sampler_options
    limiter = info.rate_limiter_info
    exponent = options.prioritized.priority_exponent if options.HasField("prioritized") else None
    have = {
        "max_items": info.max_size,
        "min_size": limiter.min_size_to_sample,
        "priority_exponent": exponent,
    }
    problems = [
        f"{name}: the server has {value}, got {settings[name]}"
        for name, value in have.items()
        if value != settings[name]
    ]
    if info.signature is not None and info.signature != signature:
        problems.append(f"rows: the server has {info.signature}, got {signature}")
    if limiter.max_diff < 1e300:
        problems.append("rate limiter: the server's blocks writers, expected MinSize")
    if problems:
        raise ValueError(
            f"table {info.name!r} is not the one described here: {'; '.join(problems)}. "
            "Pass the server's arguments"
        )


def _rewrite(file: Path, settings: dict[str, Any]) -> None:
    """Puts this buffer's settings into the copy of a checkpoint."""
    _, tf = import_reverb()
    from reverb.cc.checkpointing import checkpoint_pb2

    tables = []
    for record in tf.data.TFRecordDataset(str(file), compression_type="ZLIB"):
        table = checkpoint_pb2.PriorityTableCheckpoint.FromString(record.numpy())
        if table.table_name == settings["table"]:  # and not that of its layout
            table.max_size = settings["max_items"]
            table.rate_limiter.min_size_to_sample = settings["min_size"]
            if settings["priority_exponent"] is not None:
                table.sampler.prioritized.priority_exponent = settings["priority_exponent"]
        tables.append(table)
    file.unlink()  # it may be a link to the saved file
    with tf.io.TFRecordWriter(str(file), tf.io.TFRecordOptions(compression_type="ZLIB")) as writer:
        for table in tables:
            writer.write(table.SerializeToString())


def _link_or_copy(source: str, target: str) -> str:
    with contextlib.suppress(OSError):
        os.link(source, target)
        return target
    return shutil.copy2(source, target)
