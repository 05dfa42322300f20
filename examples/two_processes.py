"""One learner in two processes, each with two of four devices and half of each batch.

Both have the same parameters.

    python examples/two_processes.py

starts both on this machine, with devices that are simulated on its CPU. On two machines start each
by

    python examples/two_processes.py --process 0 --address 10.0.0.1:1234
    python examples/two_processes.py --process 1 --address 10.0.0.1:1234

with the first one's address, and it takes the devices that are there.
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from jax_agents import agents, networks
from jax_agents.envs.specs import ArraySpec, DiscreteSpec, EnvironmentSpecs, sample
from jax_agents.experiments import export_weights
from jax_agents.learners import Learner

PROCESSES = 2
BATCH = 64
UPDATES = 200
SPECS = EnvironmentSpecs(ArraySpec((3,)), DiscreteSpec(3))


def make_agent() -> agents.BehavioralCloningAgent:
    """Returns an agent that learns an expert's actions from observations."""
    return agents.BehavioralCloningAgent(
        SPECS, networks.ActorNetwork(SPECS.action, (32,)), optax.sgd(0.3)
    )


def expert_rows(update: int) -> Any:
    """Returns a batch `[BATCH, 1]` of an expert that takes the largest number's place.

    Here all processes draw it, and each uses a part.
    """
    rows = sample(make_agent().collect_data_spec, jax.random.key(update), (BATCH, 1))
    rows = jax.device_get(rows)
    middle = np.ones((BATCH, 1), np.int32)
    return rows._replace(
        action=rows.observation.argmax(-1).astype(np.int32), step_type=middle, next_step_type=middle
    )


def train(process: int, address: str, folder: Path | None) -> None:
    """Trains in one process; all must make the same calls, or the others wait in vain."""
    if os.environ.get("JAX_PLATFORMS") == "cpu":
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(address, PROCESSES, process, initialization_timeout=60)
    learner = Learner(make_agent(), jax.devices(), "sharded")  # the devices of all processes
    state = learner.init(jax.random.key(0))
    part = BATCH // PROCESSES
    for update in range(UPDATES):
        own = jax.tree.map(lambda x: x[process * part :][:part], expert_rows(update))
        state, info = learner.train(state, own)
        if update % 50 == 49:
            devices = f"{len(jax.local_devices())} of {len(learner.devices)} devices"
            print(
                f"process {process}, {devices}: update {update + 1}, loss {float(info.loss):.4f}",
                flush=True,
            )
    assert info.per_example["nll"].shape == (part,)
    if folder is not None:
        export_weights(learner.fetch(state), folder / f"process_{process}.npz")
    jax.distributed.shutdown()


def alone() -> dict[str, np.ndarray]:
    """The parameters after the same updates on whole batches in one process, on one device."""
    learner = Learner(make_agent())
    state = learner.init(jax.random.key(0))
    for update in range(UPDATES):
        state, _ = learner.train(state, expert_rows(update))
    with tempfile.TemporaryDirectory() as folder:
        return dict(np.load(export_weights(state, Path(folder) / "alone.npz"), allow_pickle=False))


def launch(folder: Path, timeout: float = 150.0) -> None:
    """Runs both processes on this machine; none is left when this returns or raises."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
    }
    command = [sys.executable, __file__, "--address", address, "--folder", str(folder), "--process"]
    processes = [
        subprocess.Popen([*command, str(index)], env=environment) for index in range(PROCESSES)
    ]
    try:
        stop = time.monotonic() + timeout
        while any(process.poll() is None for process in processes):
            failed = [process.returncode for process in processes if process.poll()]
            if failed or time.monotonic() > stop:
                raise RuntimeError(
                    f"a process ended with {failed[0]}" if failed else f"not done in {timeout} s"
                )
            time.sleep(0.05)
        if any(process.returncode for process in processes):
            raise RuntimeError(f"they ended with {[process.returncode for process in processes]}")
    finally:
        for process in processes:
            process.kill()
            process.wait()


def main() -> None:
    """Both processes, and then the comparison."""
    with tempfile.TemporaryDirectory() as name:
        launch(Path(name))
        files = [Path(name) / f"process_{index}.npz" for index in range(PROCESSES)]
        results = [dict(np.load(file, allow_pickle=False)) for file in files]
    expected = alone()
    for leaf, values in expected.items():
        np.testing.assert_array_equal(results[0][leaf], results[1][leaf])
        np.testing.assert_allclose(results[0][leaf], values, rtol=1e-4, atol=1e-6)
    print(f"{len(expected)} leaves: equal in both processes, and those of one device")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--process", type=int)
    parser.add_argument("--address")
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    if given.process is None:
        main()
    else:
        train(given.process, given.address, given.folder)
