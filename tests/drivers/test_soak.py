"""Ten minutes of actors, parameter server, replay, learner: memory is flat, nothing is left."""

import sys
import time
from functools import partial
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

from jax_agents import agents, drivers, envs, learners, networks, replay

# the buffer is full, and everything compiled, long before SETTLE
SECONDS = 600.0
SETTLE = 120.0
GROWTH = 5.0  # MB that a process may gain after that: allocators keep some; measured, 0.6


def private_megabytes(pid):
    """A process's own memory, without what it shares with Ray's object store."""
    return int(Path(f"/proc/{pid}/status").read_text().split("RssAnon:")[1].split()[0]) / 1024


@pytest.mark.nightly
@pytest.mark.timeout(900)
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_flat_for_ten_minutes(ray_on_this_machine):
    make_env = partial(envs.gym.make, "CartPole-v1", num_envs=4)
    make_agent = lambda specs: agents.DqnAgent(
        specs, networks.QNetwork(specs.action.num_values, (64,)), optax.adam(1e-3)
    )
    env = make_env()
    agent = make_agent(env.specs)
    learner = learners.Learner(agent)
    balance = drivers.Balance(0.25, warmup_steps=1_000)
    buffer = replay.HostReplay(agent.collect_data_spec, capacity=5_000)
    write = drivers.BlockWriter(partial(buffer.writer, 4))
    dataset = buffer.as_dataset(64)
    state = learner.init(jax.random.key(0))
    updates = 0
    start = time.monotonic()
    measured = []
    parameters = drivers.RemoteParameterServer()
    policy = lambda specs: make_agent(specs).collect_policy
    rules = drivers.Supervision(timeout=120.0)
    with drivers.ParallelDriver(
        make_env, policy, num_actors=2, parameters=parameters, supervision=rules
    ) as driver:
        driver.publish(0, agent.policy_params(state))
        while (seconds := time.monotonic() - start) < SECONDS:
            owed = balance.owed(driver.num_steps, updates)
            for block in driver.poll(
                0.0 if owed else 0.1, start=balance.may_act(driver.num_steps, updates)
            ):
                write(block)
            for _ in range(min(owed, 32)):
                state, _ = learner.train(state, next(dataset).experience)
                updates += 1
            driver.publish(updates, agent.policy_params(state))
            if seconds > SETTLE + 30 * len(measured):
                pids = ["self", parameters.pid(), *driver.supervisor.pids()]
                measured.append([private_megabytes(pid) for pid in pids])
        report = driver.report()
    parameters.close()
    env.close()
    measured = np.array(measured)
    print(
        f"{report}, {updates} updates; MB of learner, parameter server and actors every 30 "
        f"s:\n{measured.round(1)}"
    )
    assert (measured[-1] - measured[0] < GROWTH).all(), measured
    assert report["restarts"] == 0
    deadline = time.monotonic() + 10.0
    while alive := [pid for pid in pids[1:] if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < deadline, f"processes {alive} outlived the run"
        time.sleep(0.1)
