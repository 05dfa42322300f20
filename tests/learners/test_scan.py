"""The base of the loops on device: reports, counts, whole trainings, by a loop of known numbers.

Its iteration n takes n + 1 steps, and ends an episode of return 10 n if n is odd.
"""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_agents import agents, envs, learners, networks
from jax_agents.agents.agent import TrainState
from jax_agents.drivers.rollout import rollout
from jax_agents.learners.scan import Scan, ScanState


@dataclasses.dataclass(frozen=True, eq=False)
class Counting(Scan[ScanState]):
    episodes: bool = True

    def init(self, key):
        zero = jnp.int32(0)
        train = TrainState({"x": jnp.float32(self.agent)}, {}, (), zero, key)
        return ScanState(train, key, iteration=zero, num_steps=jnp.int32(7))

    def iteration(self, state):
        n = state.iteration
        odd = n % 2
        metrics = {"n": n.astype(jnp.float32)}
        if self.episodes:
            metrics |= {"episodes": odd, "episode_return": 10.0 * n * odd}
        train = dataclasses.replace(state.train, step=n + 1)
        return ScanState(train, state.key, n + 1, state.num_steps + n + 1), metrics


LOOP = Counting(0.5, None)
START = LOOP.init(jax.random.key(0))


def test_reports_are_means_and_sums_over_their_parts():
    state, metrics = jax.jit(LOOP.run, static_argnums=(1, 2))(START, 6, 3)
    np.testing.assert_allclose(metrics["n"], [0.5, 2.5, 4.5])
    np.testing.assert_array_equal(metrics["steps"], [1 + 2, 3 + 4, 5 + 6])
    np.testing.assert_array_equal(metrics["episodes"], [1, 1, 1])
    np.testing.assert_allclose(metrics["episode_return"], [10, 30, 50])
    assert state.iteration == 6 and state.num_steps == 7 + 21


def test_a_report_without_episodes_has_a_return_of_0_and_no_nan():
    _, metrics = LOOP.run(START, 1)
    assert metrics["episodes"][0] == 0 and metrics["episode_return"][0] == 0
    _, metrics = Counting(0.5, None, episodes=False).run(START, 3)
    assert set(metrics) == {"n", "steps"} and metrics["steps"][0] == 6


def test_a_traced_number_of_iterations_is_compiled_once_and_gives_the_same():
    run = jax.jit(chex.assert_max_traces(LOOP.run, n=1))
    for count in (1, 4, 5):
        expected = LOOP.run(START, count)
        got = run(START, count)
        chex.assert_trees_all_equal(got[1], expected[1])
        assert got[0].num_steps == expected[0].num_steps and got[0].iteration == count


def test_training_is_a_pure_function_of_a_key_and_of_numbers_of_the_agent():
    train = lambda key, x: Counting(x, None).train(key, 4, 2)
    keys = jax.random.split(jax.random.key(0), 3)
    state, metrics = jax.jit(jax.vmap(train))(keys, jnp.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(state.train.params["x"], [1, 2, 3])
    np.testing.assert_array_equal(*map(jax.random.key_data, (state.train.key, keys)))
    np.testing.assert_array_equal(metrics["steps"], [[3, 7]] * 3)


@pytest.mark.parametrize(("iterations", "reports"), [(10, 3), (0, 1), (-2, 1), (5, 0)])
def test_reports_must_divide_the_iterations(iterations, reports):
    with pytest.raises(ValueError, match=f"multiple of num_reports={reports}, got {iterations}"):
        LOOP.run(START, iterations, reports)
    with pytest.raises(ValueError, match="positive multiple"):
        LOOP.train(jax.random.key(0), iterations, reports)


def test_a_traced_number_of_iterations_is_one_report():
    with pytest.raises(ValueError, match="expected one report where num_iterations is traced"):
        jax.jit(lambda state, n: LOOP.run(state, n, 2))(START, 4)


@pytest.mark.parametrize("kind", ["off-policy", "on-policy"])
def test_steps_are_rows_without_the_boundary_rows(kind):
    """In episodes of 5 steps, every sixth row of an environment is a boundary row."""
    env = envs.probes.OneState()
    if kind == "off-policy":
        agent = agents.DqnAgent(env.specs, networks.QNetwork(2, (4,)), optax.sgd(0.1))
        loop = learners.OffPolicyScan(
            agent, env, num_envs=2, rows_per_iteration=3, batch_size=4, capacity=80, warmup_rows=14
        )
        warmup = 14
        rows = 3
    else:
        network = networks.ActorValueNetwork(
            networks.ActorNetwork(env.specs.action, (4,)), networks.ValueNetwork((4,))
        )
        agent = agents.A2cAgent(env.specs, network, optax.sgd(0.1))
        loop = learners.OnPolicyScan(
            agent, env, num_envs=2, num_rows=8, num_epochs=1, num_minibatches=1
        )
        warmup = 0
        rows = 8
    start = jax.jit(loop.init)(jax.random.key(0))
    state, metrics = jax.jit(loop.run, static_argnums=(1, 2))(start, 4, 2)
    steps = lambda rows: 2 * (rows - rows // 6)
    assert start.num_steps == steps(warmup) and start.num_steps.dtype == jnp.int32
    expected = [steps(warmup + n * rows) for n in (0, 2, 4)]
    assert state.num_steps == expected[2] and state.rollout.row == warmup + 4 * rows
    np.testing.assert_array_equal(metrics["steps"], np.diff(expected))
    ended = [2 * ((warmup + n * rows + 1) // 6) for n in (0, 2, 4)]
    np.testing.assert_array_equal(metrics["episodes"], np.diff(ended))
    np.testing.assert_allclose(metrics["episode_return"], 5.0)


def test_steps_of_an_iteration_are_those_of_its_rollout():
    env = envs.classic.CartPole(max_episode_steps=9)
    agent = agents.DqnAgent(env.specs, networks.QNetwork(2, (4,)), optax.sgd(0.1), epsilon=1.0)
    loop = learners.OffPolicyScan(
        agent, env, num_envs=3, rows_per_iteration=40, batch_size=4, capacity=300, warmup_rows=2
    )
    start = jax.jit(loop.init)(jax.random.key(0))
    params = agent.policy_params(start.train)
    _, rows = jax.jit(rollout, static_argnums=(0, 1, 4))(
        env, agent.collect_policy, params, start.rollout, 40
    )
    _, metrics = jax.jit(lambda state: loop.run(state, 1))(start)
    assert metrics["steps"][0] == 120 - rows.is_last().sum() < 120
