"""Guards the speed of the hot loops: fails where one fell below 0.75 of its calibrated ratio.

Each loop is compared with the same work written directly in JAX or NumPy (`bare/`), in turns in
one process, and the best of five windows of each counts. So the ratio of the two depends little on
the machine. What it should be stands in smoke.json for each version of JAX: the median of twenty
runs, with their date. A loop that is too slow is measured once more before the run fails.

    python benchmarks/smoke.py                    # at most a minute; exit status 1 if a loop fell
    python benchmarks/smoke.py --only Driver      # the loops with this in their names
    python benchmarks/smoke.py --calibrate 20     # writes smoke.json; on a quiet machine
"""

import argparse
import datetime
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_suffix(".json")
LEAST = 0.75  # of the calibrated ratio
WINDOWS = 5
SECONDS = 0.15  # that a window takes, about
PATIENCE = 10 * WINDOWS * SECONDS

Run = Callable[[int], int]


def iterations_per_window(run: Run) -> int:
    """Compiles and warms up a loop; returns the number of iterations that fill a window.

    It is that of the fastest run of the warm-up: sized by a run with a rare fault in it, windows
    would be so short that most of them miss the fault.
    """
    run(1)
    n = 1
    fastest = 0.0
    while True:
        start = time.perf_counter()
        done = run(n)
        elapsed = time.perf_counter() - start
        fastest = max(fastest, done / elapsed)
        if elapsed > SECONDS / 3:
            return max(1, round(fastest * SECONDS))
        n = done * 2


def rate(run: Run, iterations: int) -> float:
    """Returns the iterations per second in one window."""
    start = time.perf_counter()
    done = run(iterations)
    return done / (time.perf_counter() - start)


def ratio(library: tuple[Run, int], bare: tuple[Run, int]) -> float:
    """Returns the library's best rate as a multiple of the direct loop's, measured in turns.

    Args:
      library: Loop of the library, and its iterations in a window.
      bare: Loop that does the same work directly, and its iterations in a window.
    """
    rates = []
    start = time.perf_counter()
    # A loop that is many times too slow is seen in one window.
    while len(rates) < WINDOWS and time.perf_counter() - start < PATIENCE:
        rates.append((rate(*library), rate(*bare)))
    return max(one for one, _ in rates) / max(one for _, one in rates)


def judge(name: str, measure: Callable[[], float], expected: float | None) -> tuple[bool, str]:
    """Returns True if a loop is as fast as expected, and a line that says so.

    A slow one is measured once more.

    Args:
      name: Name of the loop.
      measure: Function that measures its ratio.
      expected: Calibrated ratio; None where there is none.
    """
    found = measure()
    if expected is None:
        return True, f"{name}: {found:.2f} times the direct loop; not calibrated"
    if found < LEAST * expected:
        found = max(found, measure())
    slow = found < LEAST * expected
    line = f"{name}: {found:.2f} times the direct loop, expected {expected:.2f}"
    return not slow, f"{line}: TOO SLOW, below {LEAST} of it" if slow else line


def check(
    comparisons: Sequence[Any], expected: Mapping[str, float], report: Callable[[str], None]
) -> bool:
    """Measures loops one after the other, reports a line for each; True if none fell."""
    good = True
    for comparison in comparisons:
        measure = measurement(comparison)
        passed, line = judge(comparison.name, measure, expected.get(comparison.name))
        report(line)
        good &= passed
    return good


def measurement(comparison: Any) -> Callable[[], float]:
    """Makes and compiles the loops of a comparison; returns a function to measure their ratio."""
    loops = [(run, iterations_per_window(run)) for run in (comparison.library(), comparison.bare())]
    return lambda: ratio(*loops)


def calibrated(old: Mapping[str, Any], version: str, runs: Sequence[Mapping[str, float]]) -> dict:
    """Returns the contents of smoke.json with the medians of runs for a version of JAX.

    Args:
      old: Contents before; other versions, and loops that were not measured, stay.
      version: Version of JAX.
      runs: Ratios of each run, by the loops' names.
    """
    medians = {name: round(statistics.median(run[name] for run in runs), 3) for name in runs[0]}
    ratios = old.get(version, {}).get("ratios", {}) | medians
    today = datetime.date.today().isoformat()
    return {**old, version: {"date": today, "runs": len(runs), "ratios": ratios}}


def calibrate(num_runs: int, only: str) -> list[dict[str, float]]:
    """Returns the ratios of runs, each of them in a process of its own."""
    command = [sys.executable, __file__, "--measure", "--only", only]
    runs = []
    for i in range(num_runs):
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        runs.append(json.loads(output.splitlines()[-1]))
        print(f"run {i + 1} of {num_runs}: {runs[-1]}", flush=True)
    return runs


def main() -> int:
    """Runs the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="a part of the names of the loops to measure")
    parser.add_argument("--calibrate", type=int, metavar="RUNS", help="write smoke.json")
    parser.add_argument("--measure", action="store_true", help="print the ratios as JSON")
    arguments = parser.parse_args()
    started = time.perf_counter()

    import jax

    # As in the other benchmarks: see docs/performance.md, "In a Python loop on a CPU".
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    from smoke_loops import COMPARISONS

    comparisons = [one for one in COMPARISONS if arguments.only in one.name]
    if not comparisons:
        parser.error(f"--only: no loop has {arguments.only!r} in its name")
    if arguments.measure:
        print(json.dumps({one.name: measurement(one)() for one in comparisons}))
        return 0
    table = json.loads(FILE.read_text()) if FILE.exists() else {}
    if arguments.calibrate:
        runs = calibrate(arguments.calibrate, arguments.only)
        FILE.write_text(json.dumps(calibrated(table, jax.__version__, runs), indent=2) + "\n")
        return 0
    version = jax.__version__ if jax.__version__ in table else next(reversed(table), None)
    if version != jax.__version__:
        print(f"JAX {jax.__version__} has no calibration in {FILE.name}: by that of {version}")
    expected = table[version]["ratios"] if version else {}
    good = check(comparisons, expected, lambda line: print(line, flush=True))
    print(f"{time.perf_counter() - started:.0f} s")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
