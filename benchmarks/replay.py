"""What replay costs: rows written and items sampled per second, memory, and both in a loop.

Run `python benchmarks/replay.py` (about a minute). Rows are CartPole's (36 bytes), windows have
two. "bare Reverb" is its own dataset in the fastest configuration known, without unpacking: two
workers, four batches in flight, two prefetched.
"""

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from jax_agents.envs import specs
from jax_agents.envs.types import Trajectory
from jax_agents.replay import HostReplay, has_reverb

ROWS, WINDOWS, SECONDS = 100_000, 5, 0.6
SPEC = specs.trajectory_spec(specs.EnvironmentSpecs(specs.ArraySpec((4,)), specs.DiscreteSpec(2)))


def cartpole_rows(num: int) -> list[Trajectory]:
    """Rows of episodes of 20 steps whose observations drift as CartPole's do."""
    rng = np.random.default_rng(0)
    drift = np.cumsum(rng.normal(scale=0.01, size=(num, 4)), axis=0).astype(np.float32)
    actions = rng.integers(0, 2, num, dtype=np.int32)
    step_type = np.where(
        np.arange(num + 1) % 21 == 0, 0, np.where(np.arange(num + 1) % 21 == 20, 2, 1)
    ).astype(np.int32)
    one = np.float32(1)
    return [
        Trajectory(step_type[i], drift[i], actions[i], (), step_type[i + 1], one, one)
        for i in range(num)
    ]


def resident() -> int:
    """Bytes of resident memory."""
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def rates(candidates: dict[str, tuple[Callable[[], Any], int]]) -> dict[str, float]:
    """Medians of units/s over windows of time taken in turn, so that noise hits all alike."""
    seen: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(WINDOWS):
        for name, (call, units) in candidates.items():
            call()
            start, calls = time.perf_counter(), 0
            while time.perf_counter() - start < SECONDS:
                call()
                calls += 1
            seen[name].append(calls * units / (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in seen.items()}


def bare_dataset(replay: Any, batch_size: int) -> Iterator[Any]:
    """Reverb's own dataset over the buffer's table."""
    import reverb

    dataset = reverb.TrajectoryDataset.from_table_signature(
        replay.address,
        replay.table,
        max_in_flight_samples_per_worker=4 * batch_size,
        num_workers_per_iterator=2,
    )
    return dataset.batch(batch_size, drop_remainder=True).prefetch(2).as_numpy_iterator()


def measure(kind: type, rows: list[Trajectory]) -> list[tuple[str, str]]:
    replay, name = kind(SPEC, capacity=ROWS), kind.__name__
    for row in rows[:1000]:
        replay.add(row)
    replay.can_sample(999)
    before, start = resident(), time.perf_counter()
    for row in rows[1000:]:
        replay.add(row)
    seconds = time.perf_counter() - start
    replay.can_sample(len(rows) - 1)
    lines = [
        (f"{name}: rows added/s", f"{(len(rows) - 1000) / seconds:,.0f}"),
        (f"{name}: resident bytes per row", f"{(resident() - before) / (len(rows) - 1000):,.0f}"),
    ]
    for batch in (64, 256):
        dataset = replay.as_dataset(batch)
        candidates = {f"{name}: items/s, B={batch}": (lambda dataset=dataset: next(dataset), batch)}
        if name == "ReverbReplay":
            bare = bare_dataset(replay, batch)
            candidates[f"bare Reverb: items/s, B={batch}"] = (lambda bare=bare: next(bare), batch)
        lines += [(key, f"{value:,.0f}") for key, value in rates(candidates).items()]
        del dataset
        bare = candidates = None
    dataset, count = replay.as_dataset(64), iter(range(10**9))

    def iteration() -> None:
        replay.add(rows[next(count) % len(rows)])
        next(dataset)

    lines.append(
        (
            f"{name}: us per {{add a row, next batch of 64}}",
            f"{1e6 / rates({'loop': (iteration, 1)})['loop']:,.0f}",
        )
    )
    replay.close()
    return lines


def main() -> None:
    kinds: list[type] = [HostReplay]
    if has_reverb():
        from jax_agents.replay import ReverbReplay

        kinds.append(ReverbReplay)
    rows = cartpole_rows(ROWS)
    for kind in kinds:
        for label, value in measure(kind, rows):
            print(f"{label:55} {value:>12}", flush=True)


if __name__ == "__main__":
    main()
