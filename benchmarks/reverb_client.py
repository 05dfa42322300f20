"""Our Reverb client beside Reverb's own.

It measures the time to a first confirmed row, and rows written and items sampled per second.

Run `python benchmarks/reverb_client.py` where Reverb is installed (about two minutes). The server
is a process of its own (`jax-agents replay-server`), as both clients use it. Rows are CartPole's
(36 bytes) in one packed column, windows have two.
"""

import os
import subprocess
import sys
import time

from jax_agents.replay.packing import RowLayout
from jax_agents.replay.remote import RemoteReplay, ReverbClient
from replay import SPEC, cartpole_rows, rates

ROWS = 40_000
BATCH = 256
OURS = """
import sys, numpy as np
from jax_agents.replay.remote import ReverbClient
writer = ReverbClient(sys.argv[1]).writer(max_rows=2)
for _ in range(2): writer.append([np.zeros(36, np.uint8)])
writer.create_item("experience", 1.0, 2)
writer.flush()
"""
THEIRS = """
import sys, numpy as np, reverb
writer = reverb.Client(sys.argv[1]).trajectory_writer(num_keep_alive_refs=2)
for _ in range(2): writer.append([np.zeros(36, np.uint8)])
writer.create_item("experience", 1.0, [column[-2:] for column in writer.history])
writer.flush()
"""


def start_up(address: str) -> None:
    """Import, connection and a first confirmed row, in a fresh process."""
    for name, code in (("ours", OURS), ("Reverb's", THEIRS)):
        begin = time.perf_counter()
        before = os.times().children_user
        subprocess.run([sys.executable, "-c", code, address], check=True, stderr=subprocess.DEVNULL)
        print(
            f"start to first row, {name}: {time.perf_counter() - begin:.1f} s, "
            f"{os.times().children_user - before:.1f} s of CPU"
        )


def write(address: str) -> None:
    """Rows per second, each with the window that it ends, until all are confirmed."""
    import reverb
    from reverb import structured_writer as sw

    rows = [RowLayout(SPEC).pack(row)["packed"] for row in cartpole_rows(ROWS)]
    ours = ReverbClient(address).writer(max_rows=2, max_in_flight=512)
    begin = time.perf_counter()
    for i, row in enumerate(rows):
        ours.append([row])
        if i:
            ours.create_item("experience", 1.0, 2)
        if i % 16 == 0:
            ours.stream.wait()
    ours.flush()
    print(f"rows written/s, our client: {ROWS / (time.perf_counter() - begin):,.0f}", flush=True)
    reference = sw.create_reference_step([None])
    step = sw.Condition.step_index
    configs = [
        sw.create_config([reference[0][-2:]], "experience", [step() >= 1]),
        # never: lets chunks grow
        sw.create_config([reference[0][-16:]], "experience", [step() <= -1]),
    ]
    theirs = reverb.Client(address).structured_writer(configs)
    begin = time.perf_counter()
    for i, row in enumerate(rows):
        theirs.append([row])
        if i % 24 == 0:
            theirs.flush(24)
    theirs.flush()
    print(
        f"rows written/s, Reverb's StructuredWriter: {ROWS / (time.perf_counter() - begin):,.0f}",
        flush=True,
    )
    replay = RemoteReplay(SPEC, address)
    trajectories = cartpole_rows(ROWS)
    begin = time.perf_counter()
    for row in trajectories:
        replay.add(row)
    replay.can_sample(10**9)
    print(f"rows added/s, RemoteReplay: {ROWS / (time.perf_counter() - begin):,.0f}", flush=True)
    replay.close()


def sample(address: str) -> None:
    """Items per second of batches of 256."""
    import reverb
    import tensorflow as tf

    replay = RemoteReplay(SPEC, address)
    ours = replay.as_dataset(BATCH, prefetch=2)
    candidates = {"RemoteReplay": (lambda: next(ours), BATCH)}
    for workers in (1, 2):
        theirs = reverb.TrajectoryDataset(
            address,
            "experience",
            dtypes=[tf.uint8],
            shapes=[tf.TensorShape((2, 36))],
            max_in_flight_samples_per_worker=4 * BATCH,
            num_workers_per_iterator=workers,
        )
        iterator = theirs.batch(BATCH, drop_remainder=True).prefetch(2).as_numpy_iterator()
        candidates[f"Reverb's dataset, {workers} worker(s)"] = (
            lambda iterator=iterator: next(iterator),
            BATCH,
        )
    for name, value in rates(candidates).items():
        print(f"items sampled/s, {name}: {value:,.0f}", flush=True)
    replay.close()


def main() -> None:
    command = [sys.executable, "-m", "jax_agents", "replay-server", "--capacity", "200000"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        try:
            address = server.stdout.readline().split()[3].rstrip(":")
            start_up(address)
            write(address)
            sample(address)
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
