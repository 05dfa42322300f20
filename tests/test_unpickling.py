"""Nothing in the library unpickles what comes from a disk or from a network.

Whoever can write such a file, or send such bytes, would run their own code. Ray's own transport is
the one exception: it unpickles on behalf of those who may run code there anyway.
"""

import ast
from pathlib import Path

import pytest

import jax_agents

ROOT = Path(jax_agents.__file__).parent
FILES = sorted(
    path
    for path in ROOT.rglob("*.py")
    if path.relative_to(ROOT).parts[0]
    not in ("tests", "benchmarks", "notebooks", "docs", "build", "dist")
    and not path.relative_to(ROOT).parts[0].startswith(".")
)
UNPICKLING = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
LOADING = {"load", "loads", "Unpickler", "open", "read_pickle", "pickle_load"}
# Results of Ray's actors, which Ray has unpickled before: `ParallelDriver.foreach_actor`.
ALLOWED = {("drivers/parallel.py", "pickle.loads")}


def unpickles(source):
    """The calls in a source that unpickle, or may."""
    tree = ast.parse(source)
    modules = {}  # the name by which each is known here
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] in UNPICKLING:
                    modules[alias.asname or alias.name] = alias.name
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if node.module.partition(".")[0] in UNPICKLING:
                    if alias.name in LOADING:
                        found.append(f"{node.module}.{alias.name}")
                elif alias.name in UNPICKLING:  # `from ray import cloudpickle`
                    modules[alias.asname or alias.name] = alias.name
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            if isinstance(node.value, ast.Name) and node.value.id in modules:
                if node.attr in LOADING:
                    found.append(f"{modules[node.value.id]}.{node.attr}")
            elif node.attr in ("read_pickle", "torch_load"):
                found.append(node.attr)
        elif isinstance(node, ast.Call):
            for keyword in node.keywords:
                allowed = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
                if keyword.arg == "allow_pickle" and not allowed:
                    found.append("allow_pickle")
    return found


def numpy_loads(source):
    """The calls of `np.load` in a source that do not forbid pickles themselves."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("load", "read_array")
        and ast.unparse(node.func.value) in ("np", "numpy", "np.lib.format")
        and not any(keyword.arg == "allow_pickle" for keyword in node.keywords)
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_unpickles(path):
    name = str(path.relative_to(ROOT))
    source = path.read_text()
    assert {(name, call) for call in unpickles(source)} <= ALLOWED
    assert not numpy_loads(source)


def test_what_is_allowed_is_still_there():
    for name, call in ALLOWED:
        assert call in unpickles((ROOT / name).read_text())


@pytest.mark.parametrize(
    "source",
    [
        "import pickle\npickle.load(file)",
        "import pickle as p\nx = p.loads",
        "from pickle import loads",
        "from pickle import Unpickler as U",
        "from ray import cloudpickle\ncloudpickle.loads(x)",
        "import shelve\nshelve.open(x)",
        "np.load(x, allow_pickle=True)",
        "np.load(x, allow_pickle=choice)",
        "pd.read_pickle(x)",
    ],
)
def test_the_search_finds_what_it_looks_for(source):
    assert unpickles(source)


def test_numpy_has_to_be_told():
    assert numpy_loads("np.load(x)") and numpy_loads("np.load(f(x, allow_pickle=False))")
    assert not numpy_loads("np.load(x, allow_pickle=False)")
