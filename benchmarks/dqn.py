"""DQN beside other libraries, side by side in one run: `python benchmarks/dqn.py` (about 10 minutes the first time, then 4).

An iteration is one CartPole-v1 step and one update on a batch of 64, network 100-50-2, Adam, a replay of 100,000. Each
library runs in an environment of its own under `--cache-dir`, made from the pins below. For each pair both programs
are warmed up, then take turns, one window each, so that a drift of the machine's speed meets both; the ratio is taken
round by round. Peers are set up as their authors do, at the faster of the settings that we tried (see `peers/*.py`).

Run it by the Python 3.11 that has `jax-agents[reverb]` (`uv run python benchmarks/dqn.py`), and with Python 3.12 or
later somewhere on the machine: the on-device pair is measured on the newest JAX.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
NEWEST_JAX = ["jax==0.12.0.1", "jaxlib==0.12.0.1", "flax==0.12.12", "optax==0.2.8", "chex==0.1.92"]
NEW_PYTHONS = ["3.13", "3.12", "3.14"]
INSTALL_TIMEOUT = 1200  # seconds
WINDOW_TIMEOUT = 180  # seconds; covers the imports, the compilation and the warm-up of a slow machine


@dataclass(frozen=True)
class Environment:
    """A virtual environment: its folder's name, the Python versions that will do (the first found), and what to install."""

    name: str
    pythons: list[str]
    requirements: list[str]


@dataclass(frozen=True)
class Pair:
    """Our script beside a peer's. `ours_in` None: the interpreter that runs this file."""

    title: str
    ours: str
    ours_in: Environment | None
    peer: str
    peer_in: Environment
    target: float


OURS_NEWEST = Environment("ours-newest", NEW_PYTHONS, NEWEST_JAX)
PAIRS = [
    Pair(
        "Python loop, Reverb",
        "reverb_loop.py",
        None,
        "tf_agents.py",
        Environment("tf-agents", ["3.11"], ["tf-agents==0.19.0", "tensorflow-cpu==2.15.1", "dm-reverb==0.14.0"]),
        target=5.0,
    ),
    Pair(
        "Python loop, in-process replay",
        "host_loop.py",
        None,
        "sb3.py",
        Environment("sb3", ["3.11"], ["stable-baselines3==2.9.2", "torch==2.13.0", "gymnasium==1.4.0"]),
        target=4.0,
    ),
    Pair(
        "Python loop, in-process replay",
        "host_loop.py",
        None,
        "sbx.py",
        Environment(
            "sbx", ["3.11"], ["sbx-rl==0.28.0", "stable-baselines3==2.9.2", "torch==2.13.0", "jax==0.10.2", "gymnasium==1.4.0"]
        ),
        target=4.0,
    ),
    Pair(
        "on device",
        "on_device.py",
        OURS_NEWEST,
        "rejax.py",
        Environment("rejax", NEW_PYTHONS, ["rejax==0.1.3", "gymnax==0.0.9", *NEWEST_JAX]),  # gymnax 1.0 breaks rejax 0.1.3
        target=5.0,
    ),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache-dir", type=Path, default=Path.home() / ".cache" / "jax_agents_benchmarks")
    parser.add_argument("--rounds", type=int, default=7, help="windows of each program")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a window")
    parser.add_argument("--only", nargs="+", help="peers to measure, by their scripts' names: tf_agents sb3 sbx rejax")
    parser.add_argument("--json", type=Path, help="also write every window to this file")
    arguments = parser.parse_args()

    pairs = [pair for pair in PAIRS if not arguments.only or Path(pair.peer).stem in arguments.only]
    if not pairs:
        names = [Path(pair.peer).stem for pair in PAIRS]
        parser.error(f"--only: expected some of {names}, got {arguments.only}")
    programs = []
    for pair in pairs:  # first all installations, so that none runs during a measurement
        ours = Path(sys.executable) if pair.ours_in is None else make_environment(pair.ours_in, arguments.cache_dir)
        programs.append((pair, ours, make_environment(pair.peer_in, arguments.cache_dir)))
    results = []
    for pair, ours, peer in programs:
        results.append(measure_pair(pair, ours, peer, arguments.rounds, arguments.seconds))
        print_table(results[-1:])
        if arguments.json:
            arguments.json.write_text(json.dumps(results, indent=1) + "\n")
    print("\nIterations per second (median of the windows), and the ratio round by round (median, lowest to highest):\n")
    print_table(results)


def find_python(versions: list[str]) -> str:
    """The first interpreter found among these versions: on the PATH, or one that pyenv or uv knows."""
    for version in versions:
        if version == ".".join(map(str, sys.version_info[:2])):
            return sys.executable
        pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
        candidates = [shutil.which(f"python{version}"), *map(str, pyenv.glob(f"{version}.*/bin/python"))]
        if shutil.which("uv"):
            command = ["uv", "python", "find", "--no-python-downloads", version]
            candidates.append(subprocess.run(command, capture_output=True, text=True).stdout.strip())
        for candidate in filter(None, candidates):
            if subprocess.run([candidate, "-c", "import ensurepip"], capture_output=True).returncode == 0:
                return candidate
    raise SystemExit(
        f"expected one of Python {', '.join(versions)} on the PATH or known to pyenv or uv, found none; install one"
    )


def make_environment(environment: Environment, cache_dir: Path) -> Path:
    """Makes the environment unless it is there with these very requirements; returns its interpreter."""
    folder = cache_dir / environment.name
    python, stamp = folder / "bin" / "python", folder / "requirements.txt"
    wanted = "\n".join(environment.requirements) + "\n"
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"installing {' '.join(environment.requirements)} ...", file=sys.stderr, flush=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--quiet"]
    commands = [
        [find_python(environment.pythons), "-m", "venv", "--clear", str(folder)],
        [*pip, *environment.requirements],
    ]
    if environment is OURS_NEWEST:  # this clone itself, beside the pinned JAX
        commands.append([*pip, "--no-deps", "--editable", str(HERE.parent)])
    for command in commands:
        subprocess.run(command, check=True, timeout=INSTALL_TIMEOUT, stdout=sys.stderr)
    stamp.write_text(wanted)
    return python


class Program:
    """A `measure.py` process that times one window each time it is asked."""

    def __init__(self, python: Path, script: Path, seconds: float):
        command = [str(python), str(HERE / "measure.py"), str(script), "--seconds", str(seconds)]
        environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
        self._script = script
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        self._errors: list[str] = []
        self._reader = threading.Thread(target=self._errors.extend, args=(self._process.stderr,), daemon=True)
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
            raise SystemExit(f"{self._script} ended with code {code}:\n{''.join(self._errors[-20:])}")
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


def measure_pair(pair: Pair, ours_python: Path, peer_python: Path, rounds: int, seconds: float) -> dict:
    """Warms up both programs one after the other, then lets them take turns."""
    programs: list[Program] = []
    reports: list[dict] = []
    rates: list[list[float]] = [[], []]
    try:
        for python, script in ((ours_python, HERE / "ours" / pair.ours), (peer_python, HERE / "peers" / pair.peer)):
            programs.append(Program(python, script, seconds))
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
    print("| runner | peer | ours it/s | peer it/s | ratio | target |")
    print("|---|---|---|---|---|---|")
    for result in results:
        ours, peer = (result[side]["iterations_per_second"] for side in ("ours", "peer"))
        ratios = [a / b for a, b in zip(ours, peer, strict=True)]
        ratio = statistics.median(ratios)
        verdict = "reached" if ratio >= result["target"] else "missed"
        versions = ", ".join(f"{name} {version}" for name, version in result["peer"]["versions"].items() if name != "python")
        print(
            f"| {result['title']} | {result['peer']['name']} ({versions}) | {statistics.median(ours):,.0f} | "
            f"{statistics.median(peer):,.0f} | {ratio:.1f} ({min(ratios):.1f} to {max(ratios):.1f}) | "
            f"{result['target']:g}: {verdict} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
