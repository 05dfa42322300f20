"""Fingerprints of training: hashes of the parameters of each preset in each runner.

They are taken after a few hundred updates from seed 0.

A change of structure must leave them as they are. Record before it, compare after it, on the same
machine and JAX:

    python benchmarks/fingerprints.py record before.json
    python benchmarks/fingerprints.py compare before.json

`compare` says for each run whether the parameters are the same bit for bit, and if not, how far
apart they are after the first updates and after all of them. It exits with status 1 if a run
differs by more than 1e-5 after its first updates.
"""

import argparse
import dataclasses
import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jax_agents.drivers import rollout, start_rollout
from jax_agents.envs.classic import CartPole
from jax_agents.experiments import PRESETS, DqnConfig, PpoConfig, SacConfig, Trainer, save_rows
from jax_agents.policies import RandomPolicy

_CONTINUOUS = ("SAC", "TD3", "DDPG", "APEX_DDPG")
_HIDDEN_VELOCITIES = ("R2D2", "RECURRENT_PPO")


def runs(folder: Path) -> Iterator[tuple[str, Any, str, str, int]]:
    """Name, configuration, environment, runner and number of updates of each run."""
    configs = {name: preset.config for name, preset in PRESETS.items()}
    configs["DQN_PRIORITISED_NOISY"] = DqnConfig(
        n_step=3, priority_exponent=0.6, noisy_sigma=0.5, updates_per_iteration=2
    )
    configs["PPO_KL"] = PpoConfig(
        kl_target=0.01, clip_ratio=None, advantages="batch", normalize_observations=True
    )
    configs["PPO_REWARDS"] = PpoConfig(normalize_rewards=True, num_minibatches=1)
    configs["SAC_FIXED"] = SacConfig(
        learn_temperature=False, temperature=0.2, n_step=2, hidden=(32, 32)
    )
    for name, config in configs.items():
        env = "CartPole-v1"
        if name.startswith(_CONTINUOUS):
            env = "Pendulum-v1"
        elif name in _HIDDEN_VELOCITIES:
            env = "CartPole-v1-positions"
        fields = {field.name for field in dataclasses.fields(config)}
        for runner in ("loop", "vector", "device"):
            one = config
            num_updates = 200
            if name == "ES":
                if runner != "device":
                    continue
                num_updates = 20
            elif name == "BC":
                if runner == "vector":
                    continue
                dataset = "controller" if runner == "device" else str(_rows(folder))
                one = dataclasses.replace(
                    config, dataset=dataset, steps_per_report=config.batch_size
                )
            elif "warmup_steps" in fields:
                warmup = min(config.warmup_steps, 400)
                changes: dict[str, Any] = {
                    "warmup_steps": warmup,
                    "steps_per_report": config.steps_per_iteration,
                }
                if runner == "vector" and config.num_envs == 1:
                    changes |= {
                        "num_envs": 4,
                        "steps_per_iteration": -(-config.steps_per_iteration // 4) * 4,
                    }
                one = dataclasses.replace(config, **changes)
            else:
                one = dataclasses.replace(config, iterations_per_report=1)
                num_updates = 20 if name == "PG" else num_updates
            yield f"{name}/{runner}", one, env, runner, num_updates


def fingerprint(config: Any, env: str, runner: str, num_updates: int) -> dict[str, Any]:
    """Returns the hash, and the sum and norm of each leaf, of the parameters.

    They are taken after the first report with updates and after all.
    """
    trainer = Trainer(config, env, seed=0, runner=runner, replay="host")
    try:
        result = trainer.train()
        while not result["num_updates_lifetime"]:
            result = trainer.train()
        first = _summary(trainer.train_state.params)
        while result["num_updates_lifetime"] < num_updates:
            result = trainer.train()
        counts = [
            result[key]
            for key in (
                "num_updates_lifetime",
                "num_env_steps_sampled_lifetime",
                "num_episodes_lifetime",
            )
        ]
        return {"first": first, "last": _summary(trainer.train_state.params), "counts": counts}
    finally:
        trainer.close()


def _summary(params: Any) -> dict[str, Any]:
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(params)]
    digest = hashlib.sha256(b"".join(leaf.tobytes() for leaf in leaves)).hexdigest()[:16]
    flat = [np.asarray(leaf, np.float64).ravel() for leaf in leaves]
    numbers = [(float(np.sum(leaf)), float(np.linalg.norm(leaf))) for leaf in flat]
    return {"hash": digest, "numbers": numbers}


def _rows(folder: Path) -> Path:
    path = folder / "rows.npz"
    if not path.exists():
        env = CartPole()
        policy = RandomPolicy(env.specs.action)
        start = start_rollout(env, policy, jax.random.key(0), jax.random.key(1), 20)
        _, rows = rollout(env, policy, (), start, 500)
        save_rows(path, jax.device_get(rows))
    return path


def _distance(before: dict[str, Any], after: dict[str, Any]) -> float:
    if len(before["numbers"]) != len(after["numbers"]):
        return float("inf")
    return float(np.max(np.abs(np.subtract(before["numbers"], after["numbers"]))))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=("record", "compare"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--only", default="", help="a part of the names of the runs to make")
    args = parser.parse_args()
    old = json.loads(args.file.read_text()) if args.action == "compare" else {}
    made: dict[str, Any] = {}
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        for name, *run in runs(Path(folder)):
            if args.only not in name or (args.action == "compare" and name not in old):
                continue
            made[name] = fingerprint(*run)
            if args.action == "record":
                print(name, made[name]["last"]["hash"], made[name]["counts"], flush=True)
                args.file.write_text(json.dumps(made, indent=1) + "\n")
                continue
            before = old[name]
            after = json.loads(json.dumps(made[name]))
            if before == after:
                print(
                    f"{name}: the same bit for bit after {after['counts'][0]} updates", flush=True
                )
                continue
            first, last = (_distance(before[part], after[part]) for part in ("first", "last"))
            failed |= first > 1e-5 or before["counts"] != after["counts"]
            print(
                f"{name}: DIFFERS by {first:.2g} after the first updates, {last:.2g} after all; "
                f"counts {before['counts']} and {after['counts']}",
                flush=True,
            )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
