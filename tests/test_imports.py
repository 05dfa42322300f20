"""Imports of the library are cheap, and everything public has a docstring."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PACKAGES = sorted(path.parent for path in ROOT.glob("*/__init__.py"))
FILES = sorted(
    [*ROOT.glob("*.py"), *(file for package in PACKAGES for file in package.rglob("*.py"))]
)
HEAVY = [
    "reverb",
    "tensorflow",
    "ray",
    "gymnasium",
    "matplotlib",
    "imageio",
    "rich",
    "tensorboardX",
    "orbax",
    "IPython",
    "cv2",
    "ale_py",
    "mujoco",
    "Box2D",
]
HEAVY += ["fastapi", "uvicorn"]

# Flax itself imports rich, and some of its versions orbax: what they bring in is not ours to count
# here.
PROGRAM = """
import importlib, sys
import chex, flax.linen, flax.struct, jax, numpy, optax
heavy = [name for name in sys.argv[1].split(",") if name not in sys.modules]
for name in sys.argv[2].split(","):
    importlib.import_module(name)
    found = [module for module in heavy if module in sys.modules]
    if found:
        sys.exit(f"importing {name} imports {found}: import them in the function that uses them")
"""


def module_name(file):
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(("jax_agents", *(part for part in parts if part != "__init__")))


def test_no_module_imports_what_not_everyone_uses():
    names = [module_name(file) for file in FILES]
    assert "jax_agents.agents.dqn" in names and "jax_agents" in names
    command = [sys.executable, "-c", PROGRAM, ",".join(HEAVY), ",".join(names)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("file", FILES, ids=module_name)
def test_heavy_modules_are_imported_where_they_are_used(file):
    """The same of each file's text, for those that Flax brings in."""
    named = []
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            named += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            named.append(node.module)
    assert not {name.split(".")[0] for name in named} & set(HEAVY)


def public(body):
    """The public classes and functions of a module."""
    for node in body:
        if isinstance(
            node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        ) and not node.name.startswith("_"):
            yield node


@pytest.mark.parametrize("file", FILES, ids=module_name)
def test_everything_public_has_a_docstring(file):
    module = ast.parse(file.read_text(encoding="utf-8"))
    assert ast.get_docstring(module), f"{module_name(file)} has no docstring"
    missing = [node.name for node in public(module.body) if not ast.get_docstring(node)]
    assert not missing, f"without a docstring: {missing}"
