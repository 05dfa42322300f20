"""Where the command line finds the modules of `--run MODULE:CLASS` and `--env MODULE:ID`."""

import argparse
import os
import sys
from pathlib import Path

from .errors import UserError


def add_option(command: argparse.ArgumentParser) -> None:
    """Adds the option that names a folder of modules."""
    command.add_argument(
        "--modules",
        metavar="FOLDER",
        help="a folder that you trust, with the modules that the run's params.json names; "
        "without, they have to be installed",
    )


def use(folder: str | None) -> None:
    """Has this process, and those that it starts, find modules in a folder.

    Args:
      folder: Value of the option; None changes nothing.

    Raises:
      UserError: if there is no such folder.
    """
    if folder is None:
        return
    if not Path(folder).is_dir():
        raise UserError(f"--modules: expected a folder of Python modules, got {folder!r}")
    path = str(Path(folder).resolve())
    sys.path.append(path)
    known = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    if path not in known:
        os.environ["PYTHONPATH"] = os.pathsep.join([*known, path])


def use_working_directory() -> None:
    """Has this process find modules in the working directory: the user has named them here."""
    if "" not in sys.path:
        sys.path.append("")
