import dataclasses

import jax
import pytest

from jax_agents import envs
from jax_agents.experiments import A2cConfig, PpoConfig
from jax_agents.learners import OnPolicyLoop, OnPolicyScan

SMALL = PpoConfig(
    num_steps=1_000, hidden=(4,), num_envs=4, num_rows=5, num_epochs=3, num_minibatches=2
)


def test_iterations_and_updates_follow_from_rows():
    config = dataclasses.replace(SMALL, iterations_per_report=7)
    assert config.steps_per_iteration == 20
    assert config.updates_per_iteration == 6
    assert config.num_iterations == 50
    assert config.steps_per_report == 140
    assert config.learns_from == "fresh rows"


def test_schedules_end_with_the_run():
    rate = SMALL.schedule(1.0, 0.0).schedule
    assert [float(rate(step)) for step in (0, 500, 1_000)] == [1.0, 0.5, 0.0]
    shorter = dataclasses.replace(SMALL, learning_rate_steps=500)
    assert float(shorter.schedule(1.0, 0.0).schedule(250)) == 0.5
    assert SMALL.schedule(0.2, None) == 0.2


def test_several_environments_if_there_is_one():
    several = A2cConfig(num_envs=1).vectorized()
    assert (several.num_envs, several.steps_per_iteration) == (8, 40)
    three = A2cConfig(num_envs=3)
    assert three.vectorized() is three


def test_minibatches_divide_the_rows():
    with pytest.raises(ValueError, match="expected a divisor of num_envs x num_rows = 1024, got 7"):
        PpoConfig(num_envs=8, num_rows=128, num_minibatches=7)
    with pytest.raises(ValueError, match="config policy_lag: expected at least 0"):
        PpoConfig(policy_lag=-1)


def test_a_configuration_makes_its_loops():
    env = envs.classic.CartPole()
    lagging = dataclasses.replace(SMALL, policy_lag=2)
    agent = lagging.agent(env.specs)
    scan = lagging.loop(agent, env)
    assert isinstance(scan, OnPolicyScan)
    assert (scan.num_envs, scan.num_rows, scan.num_epochs) == (4, 5, 3)
    assert (scan.num_minibatches, scan.policy_lag) == (2, 2)
    host = envs.HostEnvironment(env, 4)
    loop = SMALL.host_loop(agent, host, key=jax.random.key(0), seed=0)
    assert isinstance(loop, OnPolicyLoop)
    loop.run(1)
    assert int(loop.state.step) == 6
    with pytest.raises(ValueError, match="policy_lag=2: only the device runner delays parameters"):
        lagging.host_loop(agent, host, key=jax.random.key(0), seed=0)
