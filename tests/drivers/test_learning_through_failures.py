"""DQN learns CartPole while everything beside the learner fails at least once: environments,
actors, the parameter server.
"""

import os
import signal
import sys
from functools import partial

import jax
import optax
import pytest

from jax_agents import agents, drivers, envs, evaluation, learners, networks, replay

NUM_STEPS = 100_000
NUM_ENVS = 2
FAILURES = {
    1_000: "exit",
    2_000: "raise",
    3_000: "hang",
}


def failing_environments(folder):
    """What makes CartPoles that fail; a file tells every process what has happened already."""

    def make():
        class Failing:
            def __init__(self):
                from jax_agents.envs import gym

                self.env = gym.make("CartPole-v1", num_envs=NUM_ENVS)
                self.rows = 0
                self.specs = self.env.specs
                self.num_envs = NUM_ENVS

            def reset(self, seed=None):
                return self.env.reset(seed)

            def step(self, action):
                self.rows += 1
                kind = FAILURES.get(self.rows)
                if kind and self.first(kind):
                    if kind == "exit":
                        os._exit(1)
                    if kind == "raise":
                        raise ZeroDivisionError("inside the environment")
                    while True:
                        pass
                return self.env.step(action)

            def first(self, kind):
                try:
                    os.close(os.open(folder / kind, os.O_CREAT | os.O_EXCL))
                except FileExistsError:
                    return False
                return True

            def close(self):
                self.env.close()

        return Failing()

    return make


def make_agent(specs):
    return agents.DqnAgent(
        specs,
        networks.QNetwork(specs.action.num_values, hidden=(120, 84)),
        optax.adam(
            optax.linear_schedule(1e-3, 5e-5, transition_steps=30_000, transition_begin=10_000)
        ),
        n_step=10,
        double=True,
        target_update=agents.polyak(0.01),
    )


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_the_gate_is_reached(ray_on_this_machine, tmp_path):
    from ray import cloudpickle

    env = envs.gym.make("CartPole-v1", num_envs=10)
    agent = make_agent(env.specs)
    learner = learners.Learner(agent)
    balance = drivers.Balance(0.5, warmup_steps=1_000)
    buffer = replay.HostReplay(
        agent.collect_data_spec, capacity=200_000, sequence_length=agent.train_sequence_length
    )
    write = drivers.BlockWriter(partial(buffer.writer, NUM_ENVS))
    dataset = buffer.as_dataset(64)
    state = learner.init(jax.random.key(0))
    updates = 0
    rows = 0
    parameters = drivers.RemoteParameterServer(tmp_path / "parameters")
    killed = []
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # actors cannot import it
    with drivers.ParallelDriver(
        failing_environments(tmp_path),
        lambda specs: make_agent(specs).collect_policy,
        num_actors=2,
        num_rows=32,
        actor_params=[{"epsilon": 0.02}, {"epsilon": 0.08}],
        warmup_steps=500,
        parameters=parameters,
        supervision=drivers.Supervision(timeout=15.0),
    ) as driver:
        driver.publish(0, agent.policy_params(state))
        unfinished = lambda: (
            driver.num_steps < NUM_STEPS or not driver.supervisor.num_failures["hung"]
        )
        while unfinished() or balance.owed(driver.num_steps, updates):
            owed = balance.owed(driver.num_steps, updates)
            acting = unfinished() and balance.may_act(driver.num_steps, updates)
            for block in driver.poll(0.0 if owed else 0.1, start=acting):
                write(block)
                rows += block.rows.step_type.size
            for _ in range(min(owed, 32)):
                state, _ = learner.train(state, next(dataset).experience)
                updates += 1
            driver.publish(updates, agent.policy_params(state))
            # an actor, then the parameter server
            if driver.num_steps >= 10_000 * (len(killed) + 1) and len(killed) < 2:
                pid = parameters.pid() if killed else driver.supervisor.pids()[1]
                if pid is not None:  # the actor is being made anew just now
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
        report = driver.report()
        server = parameters.pid()
    parameters.close()
    average = evaluation.compute_avg_return(
        env, agent.policy, 100, agent.policy_params(state), seed=1
    )
    env.close()
    print(f"greedy return {average:.1f} of 100 episodes; {report}")
    assert (report["actors_error"], report["actors_hung"]) == (1, 1) and report["actors_died"] == 2
    assert server != killed[1]
    assert len(buffer) == rows  # as many as came in blocks: none twice
    assert average >= 450
