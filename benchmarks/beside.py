"""The common part of the comparisons: environments for peers, and programs that take turns.

`dqn.py`, `ppo.py` and `sac.py` each list their pairs and call `main`. Both programs of a pair are
warmed up, then take turns, one window each, so that a drift of the machine's speed meets both; the
ratio is taken round by round. Each library runs in an environment of its own under `--cache-dir`,
made from the pins.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
NEWEST_JAX = ["jax==0.12.0.1", "jaxlib==0.12.0.1", "flax==0.12.12", "optax==0.2.8", "chex==0.1.92"]
NEW_PYTHONS = ["3.13", "3.12", "3.14"]
INSTALL_TIMEOUT = 1200  # seconds
WINDOW_TIMEOUT = (
    180  # seconds; covers the imports, the compilation and the warm-up of a slow machine
)


@dataclass(frozen=True)
class Environment:
    """A virtual environment: the name of its folder, versions of Python, and requirements.

    The first of the versions that is found is used. With `ours`, this clone itself is installed in
    addition to the requirements.
    """

    name: str
    pythons: list[str]
    requirements: list[str]
    ours: bool = False


@dataclass(frozen=True)
class Pair:
    """A script of ours and a peer's, both called with `settings`, the peer's with more.

    Without `ours_in` this interpreter runs ours.
    """

    title: str
    ours: str
    ours_in: Environment | None
    peer: str
    peer_in: Environment
    target: float
    settings: dict[str, Any] = field(default_factory=dict)
    peer_settings: dict[str, Any] = field(default_factory=dict)


OURS_NEWEST = Environment("ours-newest", NEW_PYTHONS, NEWEST_JAX, ours=True)


def parser(description: str, pairs: list[Pair], rounds: int = 7) -> argparse.ArgumentParser:
    """The options that every comparison has."""
    options = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument(
        "--cache-dir", type=Path, default=Path.home() / ".cache" / "jax_agents_benchmarks"
    )
    options.add_argument("--rounds", type=int, default=rounds, help="windows of each program")
    options.add_argument("--seconds", type=float, default=2.0, help="length of a window")
    names = sorted({Path(pair.peer).stem for pair in pairs})
    options.add_argument(
        "--only", nargs="+", choices=names, help="peers to measure, by their scripts' names"
    )
    options.add_argument("--json", type=Path, help="also write every window to this file")
    return options


def main(pairs: list[Pair], arguments: argparse.Namespace, unit: str) -> None:
    """Installs what is missing, measures each pair, and prints a table.

    The table counts `unit` per second.
    """
    programs = []
    for pair in pairs:  # first all installations, so that none runs during a measurement
        if arguments.only and Path(pair.peer).stem not in arguments.only:
            continue
        ours = (
            Path(sys.executable)
            if pair.ours_in is None
            else make_environment(pair.ours_in, arguments.cache_dir)
        )
        programs.append((pair, ours, make_environment(pair.peer_in, arguments.cache_dir)))
    results = []
    for pair, ours, peer in programs:
        results.append(measure_pair(pair, ours, peer, arguments.rounds, arguments.seconds))
        print_table(results[-1:])
        if arguments.json:
            arguments.json.write_text(json.dumps(results, indent=1) + "\n")
    print(
        f"\n{unit} per second (median of the windows), and the ratio round by round (median, "
        "lowest to highest):\n"
    )
    print_table(results)


def find_python(versions: list[str]) -> str:
    """Returns the first interpreter of these versions on the PATH, or of pyenv or uv."""
    for version in versions:
        if version == ".".join(map(str, sys.version_info[:2])):
            return sys.executable
        pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
        candidates = [
            shutil.which(f"python{version}"),
            *map(str, pyenv.glob(f"{version}.*/bin/python")),
        ]
        if shutil.which("uv"):
            command = ["uv", "python", "find", "--no-python-downloads", version]
            candidates.append(
                subprocess.run(command, capture_output=True, text=True).stdout.strip()
            )
        for candidate in filter(None, candidates):
            if (
                subprocess.run(
                    [candidate, "-c", "import ensurepip"], capture_output=True
                ).returncode
                == 0
            ):
                return candidate
    raise SystemExit(
        f"expected one of Python {', '.join(versions)} on the PATH or known to pyenv or uv, "
        "found none; install one"
    )


def make_environment(environment: Environment, cache_dir: Path) -> Path:
    """Makes the environment unless it is there with these requirements.

    Returns its interpreter.
    """
    folder = cache_dir / environment.name
    python = folder / "bin" / "python"
    stamp = folder / "requirements.txt"
    wanted = "\n".join(environment.requirements) + "\n"
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"installing {' '.join(environment.requirements)} ...", file=sys.stderr, flush=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--quiet"]
    commands = [
        [find_python(environment.pythons), "-m", "venv", "--clear", str(folder)],
        [*pip, *environment.requirements],
    ]
    if environment.ours:
        commands.append([*pip, "--no-deps", "--editable", str(HERE.parent)])
    for command in commands:
        subprocess.run(command, check=True, timeout=INSTALL_TIMEOUT, stdout=sys.stderr)
    stamp.write_text(wanted)
    return python


class Program:
    """A `measure.py` process that times one window each time it is asked."""

    def __init__(self, python: Path, script: Path, seconds: float, settings: dict[str, Any]):
        command = [str(python), str(HERE / "measure.py"), str(script), "--seconds", str(seconds)]
        command += ["--settings", json.dumps(settings)]
        environment = {
            name: value
            for name, value in os.environ.items()
            if name not in ("PYTHONPATH", "VIRTUAL_ENV")
        }
        self._script = script
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self._errors: list[str] = []
        self._reader = threading.Thread(
            target=self._errors.extend, args=(self._process.stderr,), daemon=True
        )
        self._reader.start()

    def read(self) -> dict:
        """The process's next report. Exits with the end of its standard error if there is none."""
        timer = threading.Timer(WINDOW_TIMEOUT, self._process.kill)
        timer.start()
        line = self._process.stdout.readline()
        timer.cancel()
        if not line:
            code = self._process.wait()
            self._reader.join()
            raise SystemExit(
                f"{self._script} ended with code {code}:\n{''.join(self._errors[-20:])}"
            )
        return json.loads(line)

    def window(self) -> float:
        """Times one window and returns its iterations per second."""
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self.read()["iterations_per_second"]

    def stop(self) -> None:
        self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def measure_pair(
    pair: Pair, ours_python: Path, peer_python: Path, rounds: int, seconds: float
) -> dict:
    """Warms up both programs one after the other, then lets them take turns."""
    programs: list[Program] = []
    reports: list[dict] = []
    rates: list[list[float]] = [[], []]
    try:
        for python, script, settings in (
            (ours_python, HERE / "ours" / pair.ours, pair.settings),
            (peer_python, HERE / "peers" / pair.peer, pair.settings | pair.peer_settings),
        ):
            programs.append(Program(python, script, seconds, settings))
            reports.append(programs[-1].read())
        for _ in range(rounds):
            for program, rate in zip(programs, rates, strict=True):
                rate.append(program.window())
    finally:
        for program in programs:
            program.stop()
    for report, rate in zip(reports, rates, strict=True):
        report["iterations_per_second"] = rate
    return {"title": pair.title, "target": pair.target, "ours": reports[0], "peer": reports[1]}


def print_table(results: list[dict]) -> None:
    """Prints the results as a Markdown table."""
    print("| runner | peer | ours /s | peer /s | ratio | target |")
    print("|---|---|---|---|---|---|")
    for result in results:
        ours, peer = (result[side]["iterations_per_second"] for side in ("ours", "peer"))
        ratios = [a / b for a, b in zip(ours, peer, strict=True)]
        ratio = statistics.median(ratios)
        verdict = "reached" if ratio >= result["target"] else "missed"
        versions = ", ".join(
            f"{name} {version}"
            for name, version in result["peer"]["versions"].items()
            if name != "python"
        )
        print(
            f"| {result['title']} | {result['peer']['name']} ({versions}) | "
            f"{statistics.median(ours):,.0f} | "
            f"{statistics.median(peer):,.0f} | {ratio:.2f} ({min(ratios):.2f} to "
            f"{max(ratios):.2f}) | "
            f"{result['target']:g}: {verdict} |",
            flush=True,
        )
