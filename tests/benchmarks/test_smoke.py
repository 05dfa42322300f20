"""The guard of the hot loops' speed: its verdicts, and three planted faults that it catches.

The verdicts are tested with loops whose speed is given, on a clock that they advance themselves.
The faults are real and so is the clock, hence they are nightly.
"""

import dataclasses
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from jax_agents.drivers import Driver
from jax_agents.replay import DeviceReplay

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def smoke(monkeypatch):
    """The module, found as when it is run as a script."""
    monkeypatch.syspath_prepend(str(FOLDER))
    import smoke

    yield smoke
    for name in ("smoke", "smoke_loops"):
        sys.modules.pop(name, None)


@pytest.fixture
def clock(smoke, monkeypatch):
    """A clock that only loops advance."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(smoke, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    return clock


def loop(clock, speeds, chunk=1):
    """A loop that runs in chunks; a call has the next of these iterations per second, or the last.

    The first call, which compiles, takes a minute.
    """
    speeds = list(speeds)
    started = []

    def run(n):
        done = -(-n // chunk) * chunk
        clock.now += done / (speeds.pop(0) if len(speeds) > 1 else speeds[0])
        if not started:
            started.append(True)
            clock.now += 60.0
        return done

    return run


def test_a_window_takes_about_its_time_after_compilation(smoke, clock):
    run = loop(clock, [1000.0])
    n = smoke.iterations_per_window(run)
    assert n == pytest.approx(1000 * smoke.SECONDS, rel=0.01)
    chunked = loop(clock, [100_000.0], chunk=250)
    n = smoke.iterations_per_window(chunked)
    assert n == pytest.approx(100_000 * smoke.SECONDS, rel=0.01)


def test_the_best_window_of_each_side_counts(smoke, clock):
    library = loop(clock, [50.0, 20.0, 90.0, 60.0, 10.0])
    bare = loop(clock, [10.0, 30.0, 20.0, 10.0, 5.0])
    library(1)  # the first speed of each goes to the call that compiles
    bare(1)
    assert smoke.ratio((library, 1), (bare, 1)) == pytest.approx(90 / 30)


def test_a_fault_at_every_hundredth_iteration_is_in_every_window(smoke, clock):
    done = 0

    def run(n):
        nonlocal done
        for _ in range(n):
            done += 1
            clock.now += 1.0 if done % 100 == 0 else 0.001
        return n

    n = smoke.iterations_per_window(run)
    assert n >= 100
    bare = loop(clock, [1000.0])
    bare(1)
    assert smoke.ratio((run, n), (bare, n)) < 0.2


def test_a_very_slow_loop_is_not_measured_five_times(smoke, clock):
    calls = []

    def run(n):
        calls.append(n)
        clock.now += smoke.PATIENCE
        return n

    smoke.ratio((run, 1), (run, 1))
    assert len(calls) == 2


def test_windows_alternate(smoke, clock):
    order = []

    def run(name):
        def noted(n):
            order.append(name)
            clock.now += smoke.SECONDS
            return n

        return noted

    smoke.ratio((run("library"), 1), (run("bare"), 1))
    assert order == ["library", "bare"] * smoke.WINDOWS


@pytest.mark.parametrize(
    ("measured", "passes", "calls"),
    [
        ([1.0], True, 1),
        ([0.76], True, 1),
        ([0.74, 0.9], True, 2),
        ([0.74, 0.73], False, 2),
        ([1 / 1.5, 1 / 1.5], False, 2),  # a fault that costs a factor of 1.5
    ],
)
def test_a_slow_loop_is_measured_once_more_and_then_fails(smoke, measured, passes, calls):
    left = list(measured)
    passed, line = smoke.judge("Driver", lambda: left.pop(0), 1.0)
    assert passed is passes
    assert len(measured) - len(left) == calls
    assert line.startswith(f"Driver: {max(measured):.2f} times the direct loop, expected 1.00")
    assert ("TOO SLOW" in line) is not passes


def test_a_loop_without_calibration_passes_and_says_so(smoke):
    passed, line = smoke.judge("Driver", lambda: 0.1, None)
    assert passed and line == "Driver: 0.10 times the direct loop; not calibrated"


def test_every_loop_is_checked_although_one_fell(smoke, clock):
    slow = SimpleNamespace(
        name="slow", library=lambda: loop(clock, [10.0]), bare=lambda: loop(clock, [20.0])
    )
    fast = SimpleNamespace(
        name="fast", library=lambda: loop(clock, [20.0]), bare=lambda: loop(clock, [20.0])
    )
    lines = []
    assert not smoke.check([slow, fast], {"slow": 1.0, "fast": 1.0}, lines.append)
    assert [line.split(":")[0] for line in lines] == ["slow", "fast"]
    assert smoke.check([slow, fast], {"slow": 0.5, "fast": 1.0}, lines.append)


def test_a_calibration_is_the_median_of_its_runs_and_keeps_other_versions(smoke):
    old = {"0.6.2": {"date": "2026-01-01", "runs": 20, "ratios": {"Driver": 1.0}}, "0.12.0": {}}
    runs = [{"Driver": 2.0}, {"Driver": 9.0}, {"Driver": 3.0}]
    new = smoke.calibrated(old, "0.12.0", runs)
    assert new["0.6.2"] == old["0.6.2"]
    assert new["0.12.0"]["ratios"] == {"Driver": 3.0} and new["0.12.0"]["runs"] == 3
    assert len(new["0.12.0"]["date"]) == len("2026-01-01")


def test_a_calibration_of_some_loops_keeps_the_others(smoke):
    old = {"0.6.2": {"date": "2026-01-01", "runs": 20, "ratios": {"Driver": 1.0, "DQN": 2.0}}}
    new = smoke.calibrated(old, "0.6.2", [{"Driver": 3.0}])
    assert new["0.6.2"]["ratios"] == {"Driver": 3.0, "DQN": 2.0}


def test_the_file_has_all_loops_of_each_version(smoke):
    import smoke_loops

    names = {comparison.name for comparison in smoke_loops.COMPARISONS}
    table = json.loads(smoke.FILE.read_text())
    assert table
    for version, entry in table.items():
        assert set(entry["ratios"]) == names, version
        assert all(ratio > 0 for ratio in entry["ratios"].values())


def test_the_loops_of_a_comparison_do_what_they_count(smoke):
    """The cheap ones, once: both sides run, and say how many iterations they did."""
    import smoke_loops

    for comparison in smoke_loops.COMPARISONS:
        if comparison.name in ("HostReplay", "Driver", "DeviceReplay, uniform"):
            for make in (comparison.library, comparison.bare):
                assert make()(3) in (3, smoke_loops.CHUNK)


def sync(monkeypatch):
    """Copies what the device has just computed to the host, leaf by leaf, at every row."""
    take = Driver.take

    def planted(self, policy_step):
        for leaf in jax.tree.leaves((self.time_step, policy_step.action)):
            float(jax.numpy.sum(jax.numpy.asarray(leaf)))
        return take(self, policy_step)

    monkeypatch.setattr(Driver, "take", planted)


def recompilation(monkeypatch):
    """Makes the policy again from time to time, which is a static argument of `jit`."""
    step = Driver.step

    def planted(self, params=None):
        if self.num_rows % 500 == 499:
            self.policy = dataclasses.replace(self.policy)
        return step(self, params)

    monkeypatch.setattr(Driver, "step", planted)


def copy(monkeypatch):
    """Writes the whole buffer again with each row."""
    add = DeviceReplay.add

    def planted(self, state, rows):
        state = add(self, state, rows)
        one = jax.lax.optimization_barrier(np.float32(1.0))
        columns = jax.tree.map(lambda x: x * one.astype(x.dtype), state.columns)
        return dataclasses.replace(state, columns=columns)

    monkeypatch.setattr(DeviceReplay, "add", planted)


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("plant", "name"),
    [(sync, "Driver"), (recompilation, "Driver"), (copy, "DeviceReplay, uniform")],
    ids=["host sync", "recompilation", "copy of the buffer"],
)
def test_a_planted_fault_is_caught(smoke, monkeypatch, plant, name):
    import smoke_loops

    comparison = next(one for one in smoke_loops.COMPARISONS if one.name == name)
    sound = smoke.measurement(comparison)()
    plant(monkeypatch)
    measure = smoke.measurement(comparison)
    assert sound / measure() > 1.5  # the fault costs as much as the guard has to see
    passed, line = smoke.judge(name, measure, sound)
    assert not passed and "TOO SLOW" in line
