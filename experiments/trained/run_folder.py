"""The folder of a run: what is in it, its lock, and the reports that it keeps."""

import contextlib
import csv
import io
import json
import os
import re
import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from ...learners.formats import STAMP, FormatError, check_format

PARAMS, RESULTS, TABLE, EVALUATION, CURVE = (
    "params.json",
    "result.json",
    "progress.csv",
    "evaluation.json",
    "curve.png",
)
CHECKPOINTS, VIDEOS = "checkpoints", "videos"


class RunFolderError(Exception):
    """A folder that is not a run's, or is in use; the message says which and what to do."""


def create_run_folder(parent: str | os.PathLike[str], algorithm: str, env: str) -> Path:
    """A new folder such as `parent/DQN_CartPole-v1_2026-01-31_12-00-00_1a2b`."""
    now = f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
    folder = Path(parent) / "_".join(
        [*(re.sub("[/:]", "-", name) for name in (algorithm, env)), now, uuid.uuid4().hex[:4]]
    )
    folder.mkdir(parents=True)
    return folder


def lock(folder: Path) -> contextlib.ExitStack:
    """Keeps other processes from training in a folder, until the result is closed.

    The lock of a process that died is gone.

    Raises:
      RunFolderError: if another process has the lock.
    """
    with contextlib.ExitStack() as held:
        file = held.enter_context(open(folder / ".lock", "w"))
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:  # on Windows: there is no lock
            pass
        except OSError as error:
            raise RunFolderError(
                f"{folder}: another process is training in this folder; wait for it, or end it"
            ) from error
        return held.pop_all()


def write_params(folder: Path, params: Mapping[str, Any]) -> None:
    """Writes `params.json`, from which `read_params` and the trainer make the same run again."""
    text = json.dumps({**params, **STAMP}, indent=2, allow_nan=False)
    write_file(folder / PARAMS, text + "\n")


def read_params(folder: Path) -> dict[str, Any]:
    """Reads the contents of `params.json`, which `write_params` wrote.

    Raises:
      RunFolderError: if the folder is not a run's, its `params.json` is damaged, or it has another
        format.
    """
    path = folder / PARAMS
    try:
        params = json.loads(path.read_text())
        check_format(folder, params)
        missing = {"run", "env", "seed", "runner", "replay", "config"} - set(params)
        if missing:
            raise ValueError(f"it lacks {', '.join(sorted(missing))}")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RunFolderError(f"{folder} is not the folder of a run: it has no {PARAMS}") from error
    except FormatError as error:
        raise RunFolderError(str(error)) from error
    except (ValueError, TypeError) as error:
        raise RunFolderError(f"{path} is damaged: {error}") from error
    return params


def find_run(path: str | os.PathLike[str]) -> tuple[Path, int | None]:
    """The run folder and the checkpoint's step of a path to either; None: the newest checkpoint.

    Raises:
      RunFolderError: it is neither.
    """
    path = Path(path).absolute()
    if (
        path.parent.name == CHECKPOINTS
        and path.name.startswith("checkpoint_")
        and path.name[11:].isdigit()
    ):
        return path.parent.parent, int(path.name[11:])
    if not path.is_dir():
        raise RunFolderError(
            f"there is no folder {path}; name a run's folder, or a checkpoint in its {CHECKPOINTS}/"
        )
    return path, None


def read_results(folder: Path) -> list[dict[str, Any]]:
    """The reports in `result.json`, up to the first line that a dying process left incomplete."""
    results: list[dict[str, Any]] = []
    path = folder / RESULTS
    for line in path.read_text().split("\n")[:-1] if path.exists() else ():
        try:
            results.append(json.loads(line))
        except ValueError:
            break
    return results


def cut_results(folder: Path, training_iteration: int) -> list[dict[str, Any]]:
    """Cuts `result.json` and `progress.csv` to the reports up to an iteration; returns them."""
    results = [
        result
        for result in read_results(folder)
        if result["training_iteration"] <= training_iteration
    ]
    write_file(folder / RESULTS, "".join(map(to_line, results)))
    write_table(folder, results)
    return results


def append_result(folder: Path, result: Mapping[str, Any]) -> None:
    """Adds a line to `result.json`, and waits until it is on the disk."""
    with open(folder / RESULTS, "a") as file:
        file.write(to_line(result))
        file.flush()
        os.fsync(file.fileno())


def to_line(result: Mapping[str, Any]) -> str:
    """A report as a line of JSON."""
    return json.dumps(result, allow_nan=False) + "\n"


def write_table(folder: Path, results: Iterable[Mapping[str, Any]]) -> None:
    """Writes the whole of `progress.csv`, with a column for every key in any of the reports."""
    results = list(results)
    columns = list(dict.fromkeys(key for result in results for key in result))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns)
    if columns:
        writer.writeheader()
    writer.writerows(results)
    write_file(folder / TABLE, text.getvalue())


def write_file(path: Path, text: str) -> None:
    """Writes a text file so that the old or the new contents are there, whole, whatever happens."""
    draft = path.with_name(f".{path.name}.writing")
    try:
        with open(draft, "w", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
