"""The modules that a run folder names: imported from installed packages alone, or where one says.

A folder comes from anyone, and to import a module is to run it. So a name in `params.json` never
reaches what lies in the working directory, or in the folder itself.
"""

import contextlib
import importlib
import importlib.util
import os
import site
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .run_folder import PARAMS


def import_modules(
    folder: Path,
    params: Mapping[str, Any],
    names: Sequence[str] = ("run", "env"),
    modules: str | os.PathLike[str] | None = None,
) -> None:
    """Imports the modules that the parameters of a run name, as in `"env": "my_games:Maze-v0"`.

    What is imported already stays. Whoever looks the names up later finds the modules here.

    Args:
      folder: Folder of the run.
      params: Its parameters.
      names: Names of the parameters to look at.
      modules: Another folder to find modules in, whose contents are trusted; None for none.

    Raises:
      ValueError: if a module is neither installed nor in that folder, or cannot be imported.
    """
    if modules is not None and not Path(modules).is_dir():
        raise ValueError(f"modules: expected a folder of Python modules, got {str(modules)!r}")
    for name in names:
        value = params.get(name)
        if isinstance(value, str) and ":" in value:
            _import(Path(folder).resolve(), name, value, modules)


def _import(folder: Path, name: str, value: str, modules: str | os.PathLike[str] | None) -> None:
    module = value.rpartition(":")[0] if name == "env" else value.partition(":")[0]
    if module in sys.modules:
        return
    parts = module.split(".")
    with _trusted_path(folder, modules):
        for i in range(len(parts)):  # a package is imported before its parts are looked for
            part = ".".join(parts[: i + 1])
            if part in sys.modules:
                continue
            if not _is_trusted(part, folder):
                raise ValueError(
                    f"{folder / PARAMS}: {name!r} names {value!r}, and no installed package has "
                    f"the module {part!r}. A run folder may be anyone's, so its modules are not "
                    "imported from the working directory or from the folder itself; if you trust "
                    f"this one, name the folder that has {parts[0]!r}: --modules FOLDER (in "
                    "Python: import the module first)"
                )
            try:
                importlib.import_module(part)
            except Exception as error:  # a module may raise anything
                raise ValueError(
                    f"{folder / PARAMS}: {name!r} names {value!r}, whose module {part!r} cannot be "
                    f"imported: {type(error).__name__}: {error}"
                ) from error


@contextlib.contextmanager
def _trusted_path(folder: Path, modules: str | os.PathLike[str] | None) -> Iterator[None]:
    """Has Python find modules in installed packages, and in `modules`, during a `with` block."""
    here = Path.cwd().resolve()
    installed = _installed_folders()
    before = list(sys.path)
    kept = []
    for entry in before:
        path = Path(entry or ".").resolve()
        if path in installed or not (path == here or path.is_relative_to(folder)):
            kept.append(entry)
    if modules is not None:
        kept.append(str(Path(modules).resolve()))
    sys.path[:] = kept
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = before


def _installed_folders() -> set[Path]:
    """Returns the folders of installed packages, with those that are installed to be edited.

    The latter are named in files `.pth`, and may be the working directory.
    """
    found = {Path(folder).resolve() for folder in (*site.getsitepackages(), _user_packages())}
    for folder in list(found):
        for file in folder.glob("*.pth"):
            with contextlib.suppress(OSError, UnicodeDecodeError):
                lines = file.read_text().splitlines()
                found |= {(folder / line).resolve() for line in lines if (folder / line).is_dir()}
    return found


def _user_packages() -> str:
    return site.getusersitepackages()


def _is_trusted(module: str, folder: Path) -> bool:
    """Returns True if a module is found, and what is found is not of the run folder."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return False
    if spec is None:
        return False
    # A folder without __init__.py is a package too: a parent of the run folder, for one.
    places = [spec.origin] if spec.has_location else list(spec.submodule_search_locations or ())
    paths = [Path(place).resolve() for place in places if place]
    return not any(path.is_relative_to(folder) or folder.is_relative_to(path) for path in paths)
