"""Every notebook runs from its first cell to its last in a kernel of this interpreter, and reaches
what it promises.
"""

import json
import sys
from pathlib import Path

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
PROMISES = {
    "c51_cartpole": "final_return >= 400 and before < 60",
    "dqn_cartpole": "final_return >= 400 and random_return < 60",
    "learner_group": "max(differences.values()) < 1e-5 "
    "and group_difference < 1e-5 and clone_return >= 400",
    "ppo_on_device": "summary['low'] >= 450 and gym_return >= 400 and improvement > 0.5",
    "ray_actors": "final_return >= 400 and report['restarts'] == 1 "
    "and report['actors_died'] == 1 and len(curve) >= 5",
    "reinforce_cartpole": "final_return >= 400 and len(queue) == 0",
    "sac_mujoco": "final_return >= -12 and random_return < -25",
}
EXTRAS = {"sac_mujoco": "mujoco"}
# These take as long as learning gates, which most of them are.
LEARNING = {
    "c51_cartpole",
    "learner_group",
    "ppo_on_device",
    "ray_actors",
    "reinforce_cartpole",
    "sac_mujoco",
}


def test_there_are_notebooks():
    assert {path.stem for path in NOTEBOOKS} >= set(PROMISES)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_is_stored_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert cells
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(
            path, marks=[pytest.mark.learning] if path.stem in LEARNING else [], id=path.stem
        )
        for path in NOTEBOOKS
    ],
)
def test_runs_in_full(path, tmp_path):
    if path.stem in EXTRAS:
        pytest.importorskip(EXTRAS[path.stem])
    # A kernel of its own, since one of the name "python3" may belong to another interpreter.
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (tmp_path / "kernels" / "current").mkdir(parents=True)
    (tmp_path / "kernels" / "current" / "kernel.json").write_text(
        json.dumps(
            {
                "argv": command,
                "display_name": "current",
                "language": "python",
                "env": {"XLA_FLAGS": ""},
            }
        )
    )
    specs = KernelSpecManager(kernel_dirs=[str(tmp_path / "kernels")])
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(f"print({PROMISES.get(path.stem, True)})"))
    client = NotebookClient(
        notebook,
        km=AsyncKernelManager(kernel_name="current", kernel_spec_manager=specs),
        timeout=240,
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute()  # raises CellExecutionError with the cell and its traceback
    printed = [
        output.text
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if output.output_type == "stream"
    ]
    assert printed[-1].strip() == "True", "".join(printed)
