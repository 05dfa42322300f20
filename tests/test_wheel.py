"""The published package is whole: built, installed in a fresh environment, imported from there."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BUILD = """
import sys
from setuptools import build_meta
build = build_meta.build_sdist if sys.argv[1] == "sdist" else build_meta.build_wheel
print(build(sys.argv[2]))
"""
IMPORT = """
import importlib, pathlib, sys
failed = []
for name in sys.argv[2:]:
    try:
        module = importlib.import_module(name)
        if not pathlib.Path(module.__file__).is_relative_to(sys.argv[1]):
            failed.append(f"{name}: imported from {module.__file__}")
    except Exception as error:
        failed.append(f"{name}: {error!r}")
print("\\n".join(failed))
"""


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    """The files of the working tree that git tracks or would track."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listing.returncode:
        pytest.skip("needs a git checkout to know which files belong to the package")
    return [Path(name) for name in listing.stdout.split("\0") if name and (ROOT / name).exists()]


@pytest.fixture(scope="module")
def wheel(tracked, tmp_path_factory) -> Path:
    """A wheel of an unpacked source distribution of the tracked files, as `uv build` makes it."""
    folder = tmp_path_factory.mktemp("build")
    for name in tracked:
        (folder / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / "tree" / name)
    sdist = folder / _build("sdist", folder / "tree", folder)
    shutil.unpack_archive(sdist, folder / "unpacked", filter="data")
    (source,) = (folder / "unpacked").iterdir()
    return folder / _build("wheel", source, folder)


def _build(kind: str, source: Path, target: Path) -> str:
    result = subprocess.run(
        [sys.executable, "-c", BUILD, kind, str(target)], cwd=source, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()[-1]


def _modules(tracked: list[Path]) -> list[str]:
    """The dotted names of all modules in packages; the repository's root is `jax_agents`."""
    folders = {path.parent for path in tracked if path.name == "__init__.py"}
    paths = [path for path in tracked if path.suffix == ".py" and path.parent in folders]
    names = [
        ".".join(["jax_agents", *path.with_suffix("").parts]).removesuffix(".__init__")
        for path in paths
    ]
    return sorted(names)


def test_holds_every_tracked_module_and_nothing_else(wheel, tracked):
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if name.endswith(".py")}
        metadata = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        entry_points = archive.read(metadata.replace("METADATA", "entry_points.txt")).decode()
        assert "jax_agents/py.typed" in archive.namelist()  # for type checkers of users' code
        licences = [name for name in archive.namelist() if name.endswith("licenses/LICENSE")]
        examples = {Path(name).name for name in archive.namelist() if name.endswith(".yaml")}
    names = {
        name.removesuffix(".py").replace("/", ".").removesuffix(".__init__") for name in inside
    }
    missing = set(_modules(tracked)) - names
    assert not missing, (
        f"not in the wheel: {sorted(missing)}; list their packages in pyproject.toml, "
        "[tool.setuptools] packages"
    )
    assert names == set(_modules(tracked))
    assert "jax-agents = jax_agents.cli:main" in entry_points
    assert licences
    assert examples == {
        path.name for path in tracked if path.suffix == ".yaml" and path.parent.name == "tuned"
    }


def test_every_module_imports_when_installed_in_a_fresh_environment(wheel, tracked, tmp_path):
    environment = tmp_path / "venv"
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", str(environment)],
        check=True,
        capture_output=True,
    )
    python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv:
        install = [
            uv,
            "pip",
            "install",
            "--offline",
            "--no-deps",
            "--python",
            str(python),
            str(wheel),
        ]
    else:
        install = [
            sys.executable,
            "-m",
            "pip",
            "--python",
            str(python),
            "install",
            "--no-deps",
            "--no-index",
            str(wheel),
        ]
    result = subprocess.run(install, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    # The dependencies come from this environment. Its own .pth files, the editable install among
    # them, are not read from here.
    found = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    )
    site_packages = Path(found.stdout.strip())
    (site_packages / "dependencies.pth").write_text(
        "\n".join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    )
    command = [python, "-I", "-c", IMPORT, str(site_packages / "jax_agents"), *_modules(tracked)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == ""
