"""Tests mirror the source one to one: `agents/dqn.py` has `tests/agents/test_dqn.py`."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXEMPT = ("__init__.py", "__main__.py")


def library_files(root: Path) -> list[Path]:
    """The library's files by their paths from the root, without those that need no mirror."""
    files = [
        file for package in root.glob("*/__init__.py") for file in package.parent.rglob("*.py")
    ]
    return sorted(file.relative_to(root) for file in files if file.name not in EXEMPT)


def mirror(file: Path) -> Path:
    """The test file of a library file, both by their paths from the root."""
    return Path("tests") / file.with_name(f"test_{file.name}")


def has_tests(file: Path) -> bool:
    """True where a file defines at least one test function, at its top or in a class."""
    if not file.exists():
        return False
    nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    return any(isinstance(n, ast.FunctionDef) and n.name.startswith("test_") for n in nodes)


def without_mirror(root: Path) -> list[str]:
    """A line for each library file whose test file is missing or has no test in it."""
    return [
        f"{file.as_posix()}: expected tests in {mirror(file).as_posix()}"
        for file in library_files(root)
        if not has_tests(root / mirror(file))
    ]


def test_every_library_file_has_its_test_file():
    assert Path("agents/dqn.py") in library_files(ROOT)
    missing = without_mirror(ROOT)
    assert not missing, "\n" + "\n".join(missing)


@pytest.fixture
def small_root(tmp_path) -> Path:
    """A root with one package of one file, and a folder of scripts."""
    for name in ("agents/__init__.py", "agents/dqn.py", "benchmarks/speed.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "tests" / "agents").mkdir(parents=True)
    return tmp_path


def test_names_what_is_missing(small_root):
    expected = ["agents/dqn.py: expected tests in tests/agents/test_dqn.py"]
    assert without_mirror(small_root) == expected
    test_file = small_root / "tests" / "agents" / "test_dqn.py"
    test_file.write_text("def helper(): ...\n")
    assert without_mirror(small_root) == expected
    test_file.write_text("class TestDqn:\n    def test_learns(self): ...\n")
    assert without_mirror(small_root) == []
