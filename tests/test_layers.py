"""The library's files import in one direction: no circles, no import against the order of layers.

Every import counts, also one in a function or under `TYPE_CHECKING`, because each is knowledge of
another file. The order is read from the one block ```` ```layers ```` of docs/design.md: one layer
a line, the lowest first, with the rooms of a layer separated by commas. A room is a folder of the
repository's root or, as in `replay.host`, one inside it; files of a folder that has no line of its
own belong to the folder above it. Rooms of one layer may use each other in one direction, and no
file imports through the `__init__` of a package that it is in.
"""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "jax_agents"
BLOCK = re.compile(r"^```layers\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Import(NamedTuple):
    """An import of a file of the library by another, both by their paths from the root."""

    file: str
    line: int
    text: str
    target: str
    through_own_package: bool = False

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}"


class Library:
    """The sources of the package: what each file imports, and the package's names.

    Args:
      sources: Text of each Python file, by its path from the repository's root.
    """

    def __init__(self, sources: Mapping[str, str]):
        self.trees = {path: ast.parse(text) for path, text in sources.items()}
        self.imports = [found for path in self.trees for found in self._imports(path)]

    def _imports(self, path: str) -> Iterator[Import]:
        for node in ast.walk(self.trees[path]):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    name = alias.name.split(".")
                    if name[0] == PACKAGE:
                        yield self._found(path, node, self._file(name[1:]), name[1:])
            elif isinstance(node, ast.ImportFrom):
                base = self._base(path, node)
                names = [alias.name for alias in node.names] if base is not None else []
                for target in sorted({self._definition(base, name) for name in names}):
                    yield self._found(path, node, target, base)
            elif isinstance(node, ast.Call):
                yield from self._dynamic(path, node)

    def _dynamic(self, path: str, node: ast.Call) -> Iterator[Import]:
        """`importlib.import_module` of a name of the library that is written out."""
        called = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        named = node.func.id if isinstance(node.func, ast.Name) else called
        if named not in ("import_module", "__import__") or not node.args:
            return
        name = node.args[0].value if isinstance(node.args[0], ast.Constant) else None
        if isinstance(name, str) and name.split(".")[0] == PACKAGE:
            parts = name.split(".")[1:]
            yield self._found(path, node, self._file(parts), parts)

    def _found(self, path: str, node: ast.AST, target: str, base: list[str]) -> Import:
        folder = path.split("/")[:-1]
        own = bool(base) and folder[: len(base)] == base and not path.endswith("__init__.py")
        return Import(
            path, node.lineno, ast.unparse(node), target, own and self._in_init(base, node)
        )

    def _in_init(self, base: list[str], node: ast.AST) -> bool:
        """True where a name of the import is no module of the package `base`."""
        names = node.names if isinstance(node, ast.ImportFrom) else []
        return any(self._module([*base, alias.name]) is None for alias in names)

    def _base(self, path: str, node: ast.ImportFrom) -> list[str] | None:
        """The module after `from` as parts below the package; None outside of the library."""
        named = node.module.split(".") if node.module else []
        if node.level == 0:
            return named[1:] if named[:1] == [PACKAGE] else None
        folder = path.split("/")[:-1]
        return folder[: len(folder) - (node.level - 1)] + named

    def _module(self, parts: list[str]) -> str | None:
        for path in ("/".join(parts) + ".py", "/".join([*parts, "__init__.py"])):
            if path in self.trees:
                return path
        return None

    def _file(self, parts: list[str]) -> str:
        path = self._module(parts)
        if path is None:
            raise ValueError(f"the library has no module {'.'.join([PACKAGE, *parts])}")
        return path

    def _definition(self, base: list[str], name: str) -> str:
        """The file that defines `name` of the module `base`, through re-exports of packages."""
        inside = self._module([*base, name])
        if inside is not None:
            return inside
        path = self._file(base)
        if path.endswith("__init__.py"):
            for node in ast.walk(self.trees[path]):
                if not isinstance(node, ast.ImportFrom):
                    continue
                for alias in node.names:
                    origin = self._base(path, node)
                    if (alias.asname or alias.name) == name and origin is not None:
                        return self._definition(origin, alias.name)
        return path

    def circles(self) -> Iterator[list[Import]]:
        """A shortest circle of imports of each group of files that know of each other."""
        yield from _circles({(found.file, found.target): found for found in self.imports})

    def room_circles(self, layers: list[list[str]]) -> Iterator[list[Import]]:
        """Circles between rooms that stand in the same layer."""
        edges = {}
        for found in self.imports:
            source, target = (_place(path, layers) for path in (found.file, found.target))
            if source[0] == target[0] and source != target:
                edges.setdefault((source[1], target[1]), found)
        yield from _circles(edges)


def _circles(edges: Mapping[tuple[str, str], Import]) -> Iterator[list[Import]]:
    """Shortest circles of a graph, each node in one of them at most."""
    seen: set[str] = set()
    for start in sorted({source for source, _ in edges}):
        path = _way(edges, start) if start not in seen else None
        if path is not None:
            seen.update(source for source, _ in path)
            yield [edges[edge] for edge in path]


def _way(edges: Iterable[tuple[str, str]], start: str) -> list[tuple[str, str]] | None:
    """The shortest way from a node back to itself, by breadth-first search; None without one."""
    ways: dict[str, list[tuple[str, str]]] = {start: []}
    queue = [start]
    while queue:
        node = queue.pop(0)
        for source, target in edges:
            if source != node:
                continue
            if target == start:
                return [*ways[node], (source, target)]
            if target not in ways:
                ways[target] = [*ways[node], (source, target)]
                queue.append(target)
    return None


def _place(path: str, layers: list[list[str]]) -> tuple[int, str]:
    """The layer and the room of a file.

    The `__init__` of a folder with rooms inside stands as high as the highest of them, since it may
    name them all. The root's own is the room `jax_agents`.
    """
    parts = path.removesuffix(".py").split("/")
    rooms = {room: rank for rank, layer in enumerate(layers) for room in layer}
    if parts == ["__init__"]:
        return rooms[PACKAGE], PACKAGE
    if parts[-1] == "__init__":
        parts = parts[:-1]
        name = ".".join(parts)
        inside = [rank for room, rank in rooms.items() if f"{room}.".startswith(f"{name}.")]
        if inside:
            return max(inside), name
    for length in range(len(parts), 0, -1):
        room = ".".join(parts[:length])
        if room in rooms:
            return rooms[room], room
    raise ValueError(f"{path}: no layer in docs/design.md holds it; add its folder to the block")


def problems(sources: Mapping[str, str], layers: list[list[str]]) -> list[str]:
    """Each circle and each import against the order, as a line to read."""
    library = Library(sources)
    found = []
    for circle in library.circles():
        found.append("circle: " + " -> ".join(map(str, circle)))
    for circle in library.room_circles(layers):
        found.append("circle of rooms of one layer: " + " -> ".join(map(str, circle)))
    for one in library.imports:
        source, target = _place(one.file, layers), _place(one.target, layers)
        if source[0] < target[0]:
            found.append(f"upward: {one} ({source[1]} is below {target[1]})")
        if one.through_own_package:
            found.append(f"through its own package's __init__: {one}")
    return found


def read_layers(page: str) -> list[list[str]]:
    """The order of layers that a page states, the lowest first."""
    blocks = BLOCK.findall(page)
    if len(blocks) != 1:
        raise ValueError(f"expected one block ```layers in docs/design.md, found {len(blocks)}")
    return [[room.strip() for room in line.split(",")] for line in blocks[0].splitlines() if line]


@pytest.fixture(scope="module")
def layers() -> list[list[str]]:
    return read_layers((ROOT / "docs" / "design.md").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def sources() -> dict[str, str]:
    """The library's files: those at the root, and those of the folders that are packages."""
    files = [*ROOT.glob("*.py")]
    for package in ROOT.glob("*/__init__.py"):
        files += package.parent.rglob("*.py")
    return {
        file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8")
        for file in sorted(files)
    }


def test_imports_point_one_way(sources, layers):
    assert "envs/types.py" in sources and "agents/dqn.py" in sources
    found = problems(sources, layers)
    assert not found, "\n" + "\n".join(found)


def test_every_room_of_the_order_is_there(sources, layers):
    files = {path for path in sources if not path.endswith("/__init__.py")}
    rooms = {_place(path, layers)[1] for path in files}
    assert rooms == {room for layer in layers for room in layer}


def test_sees_the_librarys_imports(sources):
    """The imports of two files, read by hand, so that an empty list is not taken for order."""
    targets = {(one.file, one.target) for one in Library(sources).imports}
    assert ("envs/specs.py", "envs/types.py") in targets
    assert ("networks/noisy.py", "envs/types.py") in targets
    assert ("agents/dqn.py", "agents/value_based.py") in targets


LAYERS = [[PACKAGE], ["envs"], ["agents", "drivers"], ["replay"], ["replay.host"], ["__main__"]]
SOURCES = {
    "__init__.py": "",
    "__main__.py": "from .replay import HostReplay",
    "envs/__init__.py": "from .types import Row",
    "envs/types.py": "class Row: ...",
    "agents/__init__.py": "from .dqn import Dqn",
    "agents/dqn.py": "from ..envs import Row\nclass Dqn: ...",
    "drivers/__init__.py": "",
    "drivers/driver.py": "from ..agents.dqn import Dqn",
    "replay/__init__.py": "from .host.ring import HostReplay\ndef has_reverb(): ...",
    "replay/packing.py": "import jax_agents.agents.dqn",
    "replay/host/__init__.py": "",
    "replay/host/ring.py": "from ..packing import lay_out\nclass HostReplay: ...",
}


def test_nothing_is_found_where_all_is_in_order():
    assert problems(SOURCES, LAYERS) == []


@pytest.mark.parametrize(
    ("file", "text", "finding"),
    [
        (
            "envs/types.py",
            "class Row: ...\ndef play(self):\n    from ..agents.dqn import Dqn",
            "circle: agents/dqn.py:1: from ..envs import Row -> "
            "envs/types.py:3: from ..agents.dqn import Dqn",
        ),
        (
            "agents/dqn.py",
            "import typing\nif typing.TYPE_CHECKING:\n    from ..replay import HostReplay",
            "circle: agents/dqn.py:3: from ..replay import HostReplay -> "
            "replay/host/ring.py:1: from ..packing import lay_out -> "
            "replay/packing.py:1: import jax_agents.agents.dqn",
        ),
        (
            "replay/packing.py",
            "import importlib\nimportlib.import_module('jax_agents.replay.host.ring')",
            "circle: replay/host/ring.py:1: from ..packing import lay_out -> "
            "replay/packing.py:2: importlib.import_module('jax_agents.replay.host.ring')",
        ),
        (
            "replay/host/ring.py",
            "from .. import has_reverb",
            "circle: replay/__init__.py:1: from .host.ring import HostReplay -> "
            "replay/host/ring.py:1: from .. import has_reverb",
        ),
    ],
    ids=["in a function", "under TYPE_CHECKING", "by importlib", "with the own package"],
)
def test_a_planted_circle_is_found(file, text, finding):
    assert finding in problems(SOURCES | {file: text}, LAYERS)


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        (
            "from ..replay import HostReplay",
            "upward: agents/sac.py:1: from ..replay import HostReplay "
            "(agents is below replay.host)",
        ),
        (
            "def collect():\n    from .. import replay",
            "upward: agents/sac.py:2: from .. import replay (agents is below replay)",
        ),
        (
            "import jax_agents.replay.packing as packing",
            "upward: agents/sac.py:1: import jax_agents.replay.packing as packing "
            "(agents is below replay)",
        ),
    ],
    ids=["a name of a package", "a package in a function", "absolute"],
)
def test_a_planted_upward_import_is_found(text, finding):
    assert finding in problems(SOURCES | {"agents/sac.py": text}, LAYERS)


def test_rooms_of_one_layer_use_each_other_in_one_direction():
    planted = SOURCES | {
        "agents/sac.py": "from ..drivers.rows import Rows",
        "drivers/rows.py": "class Rows: ...",
    }
    assert problems(planted, LAYERS) == [
        "circle of rooms of one layer: agents/sac.py:1: from ..drivers.rows import Rows -> "
        "drivers/driver.py:1: from ..agents.dqn import Dqn"
    ]


def test_a_file_does_not_import_through_its_own_package():
    planted = SOURCES | {"agents/c51.py": "from . import Dqn\nfrom . import dqn"}
    assert problems(planted, LAYERS) == [
        "through its own package's __init__: agents/c51.py:1: from . import Dqn"
    ]


def test_a_file_of_no_layer_is_refused():
    with pytest.raises(ValueError, match=r"evaluation/video\.py: no layer in docs/design\.md"):
        problems(SOURCES | {"evaluation/video.py": "from ..envs import Row"}, LAYERS)


def test_the_order_stands_in_one_block():
    assert read_layers("```layers\nenvs\nreplay, drivers\n```\n") == [
        ["envs"],
        ["replay", "drivers"],
    ]
    with pytest.raises(ValueError, match="found 0"):
        read_layers("no order")
