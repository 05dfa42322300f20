"""Times one benchmark script by the interpreter that runs this file; needs no packages.

A script (`peers/*.py`, `ours/*.py`) holds three names: `NAME`, `PACKAGES` (whose versions are
reported) and `setup(**settings) -> run`, where `run(n)` does at least n iterations and returns how
many it did. Compilation and the first thousands of iterations are warm-up and not timed.

    python benchmarks/measure.py benchmarks/peers/sb3.py --windows 5

prints one JSON line with the iterations per second of each window. Without `--windows`, a window is
measured for each line read from standard input, so that `beside.py` can let two programs take
turns; the first line printed then says that the script is warm.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import runpy
import sys
import time
from collections.abc import Callable


def main() -> None:
    parser = argparse.ArgumentParser(description="Times one benchmark script.")
    parser.add_argument("script")
    parser.add_argument(
        "--windows",
        type=int,
        help="how many windows to time; default: one for each line of standard input",
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="about how long a window lasts")
    parser.add_argument(
        "--settings", type=json.loads, default={}, help="what to call setup with, as JSON"
    )
    arguments = parser.parse_args()

    # Libraries print as they please; the reports have standard output to themselves.
    reports = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    script = runpy.run_path(arguments.script)
    run = script["setup"](**arguments.settings)
    iterations = warm_up(run, arguments.seconds)
    versions = {"python": platform.python_version()} | {
        p: importlib.metadata.version(p) for p in script["PACKAGES"]
    }
    report = {"name": script["NAME"], "versions": versions}
    if arguments.windows is not None:
        rates = [measure_window(run, iterations) for _ in range(arguments.windows)]
        print(json.dumps(report | {"iterations_per_second": rates}), file=reports, flush=True)
        return
    print(json.dumps(report), file=reports, flush=True)
    for _ in sys.stdin:
        print(
            json.dumps({"iterations_per_second": measure_window(run, iterations)}),
            file=reports,
            flush=True,
        )


def warm_up(run: Callable[[int], int], seconds: float) -> int:
    """Compiles, runs for about a window's time, and returns how many iterations a window takes."""
    run(100)
    start, done = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - start) < seconds:
        done += run(100)
    return max(1, round(done / elapsed * seconds))


def measure_window(run: Callable[[int], int], iterations: int) -> float:
    """Iterations per second over one window."""
    start = time.perf_counter()
    done = run(iterations)
    return done / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
