import dataclasses
from functools import cache

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_agents.agents import A2cAgent, ImpalaAgent, PpoAgent
from jax_agents.drivers.rollout import rollout, start_rollout
from jax_agents.envs import probes
from jax_agents.envs.classic import CartPole
from jax_agents.envs.types import bootstrap_row
from jax_agents.learners import OnPolicyScan
from jax_agents.networks import ActorNetwork, ActorValueNetwork, ValueNetwork


def make(kind=PpoAgent, env=None, learning_rate=1e-2, loop=None, **options):
    env = env or CartPole()
    network = ActorValueNetwork(
        ActorNetwork(env.specs.action, hidden=(8,)), ValueNetwork(hidden=(8,))
    )
    agent = kind(env.specs, network, optax.adam(learning_rate), **options)
    return OnPolicyScan(
        agent,
        env,
        **({"num_envs": 4, "num_rows": 8, "num_epochs": 2, "num_minibatches": 2} | (loop or {})),
    )


@cache
def shared():
    loop = make(normalize_observations=True, normalize_rewards=True)
    return loop, jax.jit(loop.init), jax.jit(loop.run, static_argnums=(1, 2))


def close(a, b, **options):
    a, b = (
        jax.tree.map(
            lambda x: jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x,
            t,
        )
        for t in (a, b)
    )
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, **options)


def test_runs_add_up_and_report():
    _, init, run = shared()
    start = init(jax.random.key(0))
    whole, metrics = run(start, 4, 2)
    half, first = run(start, 2, 1)
    half, second = run(half, 2, 1)
    close(whole, half)
    assert whole.iteration == 4 and whole.train.step == 4 * 2 * 2
    for name, values in metrics.items():
        np.testing.assert_allclose(
            values, [first[name][0], second[name][0]], rtol=1e-5, err_msg=name
        )
    assert {"loss", "kl", "entropy", "episodes", "episode_return"} <= set(metrics)


def test_the_same_key_repeats_and_another_differs():
    _, init, run = shared()
    a, b, c = (run(init(jax.random.key(seed)), 2, 1)[0] for seed in (1, 1, 2))
    close(a, b, rtol=0, atol=0)
    draws = [
        (a.train.params, c.train.params),
        (a.rollout.env_state.physics, c.rollout.env_state.physics),
    ]
    assert all(
        (x != y).all() for pair in draws for x, y in zip(*map(jax.tree.leaves, pair), strict=True)
    )


def test_vmapped_seeds_are_single_runs():
    loop, init, run = shared()
    keys = jax.random.split(jax.random.key(3), 3)
    many, _ = jax.jit(jax.vmap(lambda key: loop.run(loop.init(key), 2, 1)))(keys)
    close(jax.jit(jax.vmap(lambda key: loop.train(key, 2)))(keys)[0], many)
    for i in range(3):
        one, _ = run(init(keys[i]), 2, 1)
        close(
            jax.tree.map(lambda x, i=i: x[i], many.train.params),
            one.train.params,
            rtol=1e-4,
            atol=1e-5,
        )


def test_compiles_once():
    loop = make(A2cAgent, loop={"num_epochs": 1, "num_minibatches": 1})
    run = jax.jit(chex.assert_max_traces(loop.run, n=1), static_argnums=(1, 2))
    state = jax.jit(loop.init)(jax.random.key(0))
    for _ in range(3):
        state, _ = run(state, 2, 1)
    assert state.iteration == 6


def test_one_iteration_is_a_rollout_and_the_updates():
    """By hand: rows, the bootstrap row, one whole-batch update. Episodes count as they end."""
    loop = make(A2cAgent, loop={"num_epochs": 1, "num_minibatches": 1, "num_rows": 40})
    agent = loop.agent
    start = jax.jit(loop.init)(jax.random.key(5))
    after, metrics = jax.jit(loop.run, static_argnums=1)(start, 1)
    state, rows = rollout(
        loop.env, agent.collect_policy, agent.policy_params(start.train), start.rollout, 40
    )
    last = bootstrap_row(state.time_step, jax.tree.map(lambda x: x[:, -1], rows))
    experience = jax.tree.map(lambda x, y: jnp.concatenate([x, y[:, None]], axis=1), rows, last)
    train, info = agent.train(*agent.prepare(start.train, experience))
    close(after.train.params, train.params, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(metrics["loss"], [info.loss], rtol=1e-4)
    assert metrics["episodes"][0] == (rows.next_step_type == 2).sum() > 0


def test_minibatches_are_a_partition():
    """Under plain SGD so slow that parameters hardly move, an epoch of minibatches is one step of
    the whole batch.
    """
    env = CartPole()
    network = ActorValueNetwork(
        ActorNetwork(env.specs.action, hidden=(8,)), ValueNetwork(hidden=(8,))
    )
    agent = PpoAgent(env.specs, network, optax.sgd(1e-3), advantages="none")

    def moved(parts):
        loop = OnPolicyScan(agent, env, num_envs=4, num_rows=8, num_epochs=1, num_minibatches=parts)
        start = jax.jit(loop.init)(jax.random.key(0))
        after, _ = jax.jit(loop.run, static_argnums=1)(start, 1)
        return jax.tree.map(lambda x, y: (x - y) / parts, after.train.params, start.train.params)

    whole = moved(1)
    split = moved(4)
    whole, split = (
        np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(tree)]) for tree in (whole, split)
    )
    assert np.linalg.norm(whole - split) < 0.05 * np.linalg.norm(whole)


def test_lag_acts_with_old_parameters():
    loop = make(ImpalaAgent, loop={"num_epochs": 1, "num_minibatches": 1, "policy_lag": 4})
    run = jax.jit(loop.run, static_argnums=1)
    state = jax.jit(loop.init)(jax.random.key(0))
    for _ in range(6):
        state, metrics = run(state, 1)
    assert state.train.step == 6 and state.behaviour["step"].tolist() == [2, 3, 4, 5]
    assert metrics["ratio"] != 1.0
    # The next iteration acts with the parameters after 2 updates: the same rows, the same policy
    # steps.
    oldest = jax.tree.map(lambda x: x[0], state.behaviour)
    expected, _ = rollout(loop.env, loop.agent.collect_policy, oldest, state.rollout, 8)
    after, _ = run(state, 1)
    close(after.rollout, expected, rtol=1e-6)


@pytest.mark.parametrize("kind", [PpoAgent, A2cAgent, ImpalaAgent])
def test_a_time_limit_is_bootstrapped_through(kind):
    """Rewards of 1 for ever, cut off after 5 steps: the value tends to 1 / (1 - 0.5), not to the
    sum up to the limit.
    """
    env = probes.OneState()
    loop = make(kind, env, gamma=0.5, loop={"num_epochs": 1, "num_minibatches": 1})
    state = jax.jit(lambda key: loop.run(loop.init(key), 300)[0])(jax.random.key(0))
    observations, values = env.expected_values(0.5)
    got = loop.agent.value(loop.agent.policy_params(state.train), observations)
    np.testing.assert_allclose(got, values, atol=0.05)


def test_start_is_the_collect_policys():
    loop, init, _ = shared()
    state = init(jax.random.key(0))
    _, sums = state.rollout.policy_state
    assert sums.shape == (4,)
    assert (
        start_rollout(
            loop.env, loop.agent.collect_policy, jax.random.key(0), jax.random.key(1), 4
        ).row
        == state.rollout.row
    )


def test_errors():
    with pytest.raises(
        ValueError,
        match=r"num_minibatches=3 does not divide the batch of 32 examples "
        r"\(from 4 environments x 8 rows\)",
    ):
        loop = make(loop={"num_minibatches": 3})
        jax.eval_shape(lambda key: loop.run(loop.init(key), 1), jax.random.key(0))
    with pytest.raises(ValueError, match="num_epochs >= 1, got 0"):
        make(loop={"num_epochs": 0})
    loop, init, _ = shared()
    with pytest.raises(ValueError, match="multiple of num_reports=2, got 3"):
        loop.run(init(jax.random.key(0)), 3, 2)
    assert dataclasses.replace(loop, num_envs=8).num_envs == 8
