"""The gain of actors where environments are slow, and their cost where environments are free.

    python benchmarks/actors.py scaling      # about 2 minutes; also with a learner
    python benchmarks/actors.py overhead     # about 2 minutes

Run nothing else beside it. Scaling: environments that sleep 50 ms a step. Overhead: 8 environments
that cost nothing in each actor, so that all there is are the policy's call, the driver, and the way
of the rows to the buffer.
"""

import os
import sys
import time
from functools import partial

import jax
import numpy as np
import optax

from jax_agents.agents import DqnAgent
from jax_agents.drivers import BlockWriter, Driver, ParallelDriver
from jax_agents.drivers.ray_runtime import import_ray
from jax_agents.envs.specs import ArraySpec, DiscreteSpec, EnvironmentSpecs
from jax_agents.envs.types import TimeStep
from jax_agents.learners import Learner
from jax_agents.networks import QNetwork
from jax_agents.replay import HostReplay

SPECS = EnvironmentSpecs(ArraySpec((4,)), DiscreteSpec(2))
SECONDS = 15.0


class Sleeping:
    """Takes `seconds` for a step; episodes of 200 steps."""

    def __init__(self, num_envs: int | None, seconds: float):
        self.specs = SPECS
        self.num_envs = num_envs
        self.seconds = seconds
        self.rows = 0
        shape = () if num_envs is None else (num_envs,)
        ones = np.ones(shape, np.float32)
        observation = np.zeros((*shape, 4), np.float32)
        self.time_steps = [
            TimeStep(np.full(shape, kind, np.int32), ones, ones, observation) for kind in (0, 1, 2)
        ]

    def reset(self, seed: int | None = None) -> TimeStep:
        return self.time_steps[0]

    def step(self, action: np.ndarray) -> TimeStep:
        if self.seconds:
            time.sleep(self.seconds)
        self.rows += 1
        place = self.rows % 201
        return self.time_steps[0 if place == 0 else 2 if place == 200 else 1]

    def close(self) -> None:
        pass


def make_agent(specs: EnvironmentSpecs) -> DqnAgent:
    return DqnAgent(specs, QNetwork(2, (64, 64)), optax.adam(1e-3))


def make_driver(
    num_actors: int, num_envs: int | None, seconds: float, num_rows: int
) -> ParallelDriver:
    """A driver whose actors have compiled, and are at work."""
    policy = lambda specs: make_agent(specs).collect_policy
    driver = ParallelDriver(
        partial(Sleeping, num_envs, seconds), policy, num_actors=num_actors, num_rows=num_rows
    )
    agent = make_agent(SPECS)
    driver.publish(0, agent.policy_params(agent.init(jax.random.key(0))))
    slices = [0] * max(1, num_actors)
    while min(slices) < 2:
        for block in driver.poll(timeout=1.0):
            slices[block.actor] += 1
    return driver


def scaling() -> None:
    """Prints steps per second of 1, 8 and 32 actors, and of 32 beside a learner.

    The learner's updates are also measured alone.
    """
    rates = {}
    for num_actors in (1, 8, 32):
        with make_driver(num_actors, None, 0.05, 8) as driver:
            rates[num_actors] = measure(driver)
            print(
                f"{num_actors:3d} actors: {rates[num_actors]:7.1f} steps/s, "
                f"{rates[num_actors] / rates[1]:5.2f} x one",
                flush=True,
            )
            if num_actors == 32:
                sizes = [megabytes(pid) for pid in driver.supervisor.pids()]
                print(f"an actor: {np.mean(sizes):.0f} MB")
                alone, _ = learn(None)
                beside, steps = learn(driver)
                print(
                    f"a learner alone: {alone:.0f} updates/s; beside 32 actors: {beside:.0f} "
                    f"({beside / alone - 1:+.1%})"
                )
                told = f"{steps:.1f} steps/s, {steps / rates[1]:.2f} x one"
                print(f"32 actors beside the learner: {told}")


def megabytes(pid: int | None) -> float:
    """The memory of a process, what it shares with others divided among them."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Pss:")) / 1024


def measure(driver: ParallelDriver, seconds: float = SECONDS) -> float:
    start = time.perf_counter()
    steps = driver.num_steps
    while time.perf_counter() - start < seconds:
        driver.poll(timeout=1.0)
    return (driver.num_steps - steps) / (time.perf_counter() - start)


def learn(driver: ParallelDriver | None) -> tuple[float, float]:
    """Returns DQN updates and steps per second, on batches of 128 from the buffer.

    With a driver, its blocks go to the buffer meanwhile.
    """
    agent = make_agent(SPECS)
    learner = Learner(agent)
    state = learner.init(jax.random.key(0))
    buffer = HostReplay(agent.collect_data_spec, capacity=10_000)
    Driver(Sleeping(8, 0.0), agent.collect_policy, [buffer.add]).run(
        num_rows=1_000, params=agent.policy_params(state)
    )
    # blocks are of one environment
    dataset = buffer.as_dataset(128)
    write = BlockWriter(partial(buffer.writer, 1))
    state, _ = learner.train(state, next(dataset).experience)
    start = time.perf_counter()
    updates = 0
    steps = driver.num_steps if driver else 0
    while time.perf_counter() - start < SECONDS:
        for _ in range(32):
            state, _ = learner.train(state, next(dataset).experience)
        updates += 32
        if driver:
            for block in driver.poll():
                write(block)
            driver.publish(updates, agent.policy_params(state))
    jax.block_until_ready(state)
    seconds = time.perf_counter() - start
    return updates / seconds, ((driver.num_steps if driver else 0) - steps) / seconds


def overhead() -> None:
    """Prints steps per second into a HostReplay, of a Driver here and of 1 and 2 actors."""
    agent = make_agent(SPECS)
    params = agent.policy_params(agent.init(jax.random.key(0)))
    buffer = HostReplay(agent.collect_data_spec, capacity=100_000)
    driver = Driver(Sleeping(8, 0.0), agent.collect_policy, [buffer.add])
    params = jax.device_put(params)
    driver.run(num_rows=100, params=params)
    start = time.perf_counter()
    steps = driver.num_steps
    while time.perf_counter() - start < SECONDS:
        driver.run(num_rows=64, params=params)
    one = (driver.num_steps - steps) / (time.perf_counter() - start)
    print(f"one process: {one:.0f} steps/s ({os.cpu_count()} cores)")
    for num_actors, num_rows in ((0, 64), (1, 64), (1, 256), (2, 64), (2, 1)):
        buffer = HostReplay(agent.collect_data_spec, capacity=100_000)
        write = BlockWriter(partial(buffer.writer, 8))
        with make_driver(num_actors, 8, 0.0, num_rows) as parallel:
            start = time.perf_counter()
            steps = parallel.num_steps
            while time.perf_counter() - start < SECONDS:
                for block in parallel.poll(timeout=1.0):
                    write(block)
            rate = (parallel.num_steps - steps) / (time.perf_counter() - start)
        print(
            f"{num_actors} actors, slices of {num_rows} rows: {rate:.0f} steps/s, "
            f"{rate / one:.2f} x one process, {rate / 8 / num_rows:.0f} blocks/s",
            flush=True,
        )


if __name__ == "__main__":
    import_ray().init(include_dashboard=False, object_store_memory=500_000_000, log_to_driver=False)
    {"scaling": scaling, "overhead": overhead}[sys.argv[1]]()
