"""The marker `quick` under other settings of JAX, each in a process of its own.

`.ci/run` runs the marker under all of them at once.

No third-party package stands in the way. What one does that differs under a setting is taken up
where it comes in: optax's schedules divide whole numbers, which is float64 under `jax_enable_x64`
(`policies.schedule.value_at`), and `jax.random.randint` broadcasts its bounds implicitly, so that
`envs.specs.sample` gives it bounds with all axes. gymnasium and Reverb use no JAX, so that no
setting reaches them.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SETTINGS = {
    "x64": {"JAX_ENABLE_X64": "1"},
    "nans": {"JAX_DEBUG_NANS": "1"},
    "ranks": {"JAX_NUMPY_RANK_PROMOTION": "raise"},
}


def quick(settings, tmp_path):
    """Runs the marker with these variables of the environment; returns what it printed."""
    environment = {**os.environ, **settings}
    for name in [name for name in environment if name.startswith("PYTEST_")]:
        del environment[name]
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-x", "-p", "no:cacheprovider"]
    command += ["-m", "quick and not nightly and not learning", f"--basetemp={tmp_path / 'inner'}"]
    run = subprocess.run(
        [*command, str(ROOT / "tests" / "quick")],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=560,
    )
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    return run.stdout


@pytest.mark.nightly
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", SETTINGS)
def test_quick_under_each_setting(name, tmp_path):
    assert " passed" in quick(SETTINGS[name], tmp_path)
