"""PPO on device beside PureJaxRL's own `ppo.py`, in one run.

Run `python benchmarks/ppo.py` (about 6 minutes).

PureJaxRL's configuration: CartPole-v1, 128 rows of each environment between updates, 4 epochs of 4
minibatches, two networks of 64-64 with tanh; with 4 environments as there, and with 8 and 256. A
window is whole trainings from scratch, of 500,000 steps (of 2,000,000 with 256 environments),
compiled beforehand. Environment steps per second are counted; our boundary rows, one an episode,
are not. Both run on the newest JAX. `beside.py` says how it is measured.

PureJaxRL is no package: its repository is cloned at a pinned commit into the cache, or
`--purejaxrl` names a clone.
"""

import argparse
import subprocess
from pathlib import Path

from beside import NEW_PYTHONS, NEWEST_JAX, OURS_NEWEST, Environment, Pair, main, parser

REPOSITORY = "https://github.com/luchris429/purejaxrl"
COMMIT = "31756b197773a52db763fdbe6d635e4b46522a73"
PUREJAXRL = Environment("purejaxrl", NEW_PYTHONS, ["gymnax==0.0.9", "distrax==0.1.9", *NEWEST_JAX])


def pairs(source: Path) -> list[Pair]:
    """One pair for each number of environments."""
    return [
        Pair(
            f"on device, {num_envs} environments",
            "ppo_on_device.py",
            OURS_NEWEST,
            "purejaxrl.py",
            PUREJAXRL,
            target=1.0,
            settings={"num_envs": num_envs, "num_steps": num_steps},
            peer_settings={"source": str(source)},
        )
        for num_envs, num_steps in ((4, 500_000), (8, 500_000), (256, 2_000_000))
    ]


def purejaxrl(arguments: argparse.Namespace) -> Path:
    """The folder of PureJaxRL's scripts."""
    folder = arguments.purejaxrl or arguments.cache_dir / "purejaxrl-source"
    if not folder.exists():
        subprocess.run(
            ["git", "clone", "--quiet", REPOSITORY, str(folder)], check=True, timeout=300
        )
        subprocess.run(["git", "-C", str(folder), "checkout", "--quiet", COMMIT], check=True)
    commit = subprocess.run(
        ["git", "-C", str(folder), "rev-parse", "HEAD"], capture_output=True, text=True
    ).stdout.strip()
    if commit != COMMIT:
        raise SystemExit(
            f"{folder}: expected PureJaxRL at commit {COMMIT}, got {commit or 'no git clone'}; "
            "check that out"
        )
    return folder.resolve() / "purejaxrl"


if __name__ == "__main__":
    options = parser(__doc__, pairs(Path()))
    options.add_argument(
        "--purejaxrl", type=Path, help="a clone of PureJaxRL's repository to use; default: make one"
    )
    arguments = options.parse_args()
    main(pairs(purejaxrl(arguments)), arguments, "Environment steps")
