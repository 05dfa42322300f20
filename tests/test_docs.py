"""The Python blocks of README.md and docs/*.md run, each page as a whole in its own process."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")


def blocks(path: Path) -> list[str]:
    """The page's Python, each block on its own lines of the page; ````
    ```python skip ```` marks one that is not run.
    """
    text = path.read_text()
    found = []
    for match in BLOCK.finditer(text):
        if "skip" not in match[1].split():
            found.append("\n" * (text[: match.start(2)].count("\n")) + match[2])
    return found


WITH_CODE = [path for path in PAGES if blocks(path)]


def test_finds_blocks():
    assert ROOT / "README.md" in WITH_CODE
    assert ROOT / "docs" / "migration.md" in WITH_CODE


@pytest.mark.parametrize("path", WITH_CODE, ids=lambda path: path.stem)
def test_blocks_run(path, tmp_path):
    run = f"exec(compile(source, {path.name!r}, 'exec'), globals())"
    program = f"for source in {blocks(path)!r}:\n    {run}"
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=240
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_local_links_lead_somewhere(path):
    for target in LINK.findall(path.read_text()):
        assert (path.parent / target).exists(), f"{path.name} links to {target}, which is not there"
