"""The Python loop computes what the plain pieces do, and what `OnPolicyScan` does on device."""

from functools import cache

import jax
import numpy as np
import optax
import pytest

from jax_agents import drivers, envs, learners
from jax_agents.agents import A2cAgent, PpoAgent, ReinforceAgent
from jax_agents.drivers.rollout import rollout, start_rollout
from jax_agents.envs.types import bootstrap_row
from jax_agents.networks import ActorNetwork, ActorValueNetwork, ValueNetwork

KEY = jax.random.key(3)
TRAIN_KEY, _, ACT_KEY, UPDATE_KEY = jax.random.split(KEY, 4)
OPTIONS = {"num_rows": 12, "num_epochs": 2, "num_minibatches": 3}


def jax_env():
    return envs.classic.CartPole(max_episode_steps=15)


@cache
def make_agent(kind=PpoAgent, normalize=True):
    env = jax_env()
    network = ActorValueNetwork(
        ActorNetwork(env.specs.action, hidden=(8,)), ValueNetwork(hidden=(8,))
    )
    options = {"normalize_observations": True, "normalize_rewards": True} if normalize else {}
    return kind(env.specs, network, optax.adam(1e-2), **options)


def make_loop(agent=None, num_envs=4, **options):
    env = envs.HostEnvironment(jax_env(), num_envs)
    return learners.OnPolicyLoop(
        agent or make_agent(), env, **(OPTIONS | {"key": KEY, "seed": 5} | options)
    )


@cache
def shared():
    """One loop for many tests, since each compiles its own; begin with `restart`."""
    return make_loop()


def restart(loop, state=None):
    loop.state = loop.agent.init(TRAIN_KEY) if state is None else state
    loop.num_iterations = loop.driver.num_rows = loop.driver.num_steps = (
        loop.driver.num_episodes
    ) = 0
    loop.driver.time_step = None
    loop.driver.observers = ()
    return loop


def close(a, b, **options):
    parts = lambda state: jax.tree.leaves((state.params, state.opt_state, state.step, state.extra))
    for x, y in zip(parts(a), parts(b), strict=True):
        np.testing.assert_allclose(x, y, **(options or {"rtol": 1e-5, "atol": 1e-5}))


def test_equals_on_policy_on_the_same_environment():
    """Rows and parameters after iterations whose segments span episodes, time limits included."""
    agent = make_agent()
    env = jax_env()
    rows = []
    loop = restart(shared())
    loop.driver.observers = (rows.append,)
    loop.run(2)
    metrics = loop.run(1)
    scan = learners.OnPolicyScan(agent, env, num_envs=4, **OPTIONS)
    start = scan.init(KEY).replace(
        rollout=start_rollout(env, agent.collect_policy, jax.random.key(5), ACT_KEY, 4)
    )
    run = jax.jit(lambda state: scan.run(state, 1))
    state, _ = run(run(start)[0])
    expected, means = run(state)
    close(loop.state, expected.train)
    for name, value in metrics.items():
        np.testing.assert_allclose(value, means[name][0], rtol=1e-4, atol=1e-5, err_msg=name)
    params = agent.policy_params(state.train)
    _, scanned = jax.jit(lambda p, r: rollout(env, agent.collect_policy, p, r, 12))(
        params, state.rollout
    )
    for t, row in enumerate(rows[24:]):
        jax.tree.map(
            lambda x, y, t=t: np.testing.assert_allclose(x, y[:, t], rtol=1e-5, atol=1e-5),
            row,
            scanned,
        )
    assert len(rows) == 36 and sum(row.is_last().sum() for row in rows) > 4


@pytest.mark.parametrize("num_envs", [None, 3])
def test_equals_the_plain_pieces(num_envs):
    """A driver, the bootstrap row, `prepare`, and `train` on the whole batch: the loop that the
    tutorial shows.
    """
    agent = make_agent(A2cAgent)
    segments = 3
    loop = make_loop(agent, num_envs, num_epochs=1, num_minibatches=1)
    loop.run(segments)
    rows = []
    env = envs.HostEnvironment(jax_env(), num_envs)
    driver = drivers.Driver(env, agent.collect_policy, [rows.append], key=ACT_KEY, seed=5)
    state = agent.init(TRAIN_KEY)
    prepare = jax.jit(agent.prepare)
    train = jax.jit(agent.train)
    for _ in range(segments):
        rows.clear()
        last = driver.run(num_rows=12, params=agent.policy_params(state))
        experience = jax.tree.map(
            lambda *x: np.stack(x, axis=0 if num_envs is None else 1),
            *rows,
            bootstrap_row(last, rows[-1]),
        )
        if num_envs is None:
            experience = jax.tree.map(lambda x: x[None], experience)
        state, _ = train(*prepare(state, experience))
    close(loop.state, state)
    assert loop.driver.num_steps == driver.num_steps and loop.num_iterations == segments


def test_compiles_once_however_long_it_runs():
    loop = restart(shared())
    for _ in range(4):
        loop.run(2)
    assert loop._act._cache_size() == 1
    assert loop._update._cache_size() == 1
    # int32 and float32: so many arrays make the journey to the device
    assert len(loop._vectors) == 2


def test_the_same_seed_repeats_and_another_differs():
    """Reading and setting the state between two runs changes nothing either."""
    weights = lambda loop: np.concatenate([np.ravel(x) for x in jax.tree.leaves(loop.state.params)])
    loop = restart(shared())
    loop.run(2)
    one = weights(loop)
    restart(loop).run(1)
    loop.state = loop.state
    loop.run(1)
    np.testing.assert_array_equal(one, weights(loop))
    other = make_loop(key=jax.random.key(4), seed=6)
    other.run(2)
    assert np.mean(one != weights(other)) > 0.9


def test_begins_with_a_given_state():
    agent = make_agent()
    state = agent.init(jax.random.key(9))
    close(make_loop(agent, state=state).state, state, rtol=0)


def test_gymnasium_in_processes_and_reinforce():
    """gymnasium's CartPole, a process each; not whole episodes, so that the baseline bootstraps."""
    env = envs.gym.make("CartPole-v1", 2, vectorization="async")
    try:
        agent = make_agent(ReinforceAgent, normalize=False)
        loop = learners.OnPolicyLoop(
            agent, env, num_rows=30, num_epochs=1, num_minibatches=1, key=KEY, seed=0
        )
        metrics = loop.run(2)
        assert loop.driver.num_rows == 60 and loop.driver.num_episodes >= 1
        assert all(np.isfinite(value) for value in metrics.values())
    finally:
        env.close()


def test_errors():
    with pytest.raises(ValueError, match="OnPolicyLoop: expected num_epochs >= 1, got 0"):
        make_loop(num_epochs=0)
    with pytest.raises(
        ValueError, match="num_minibatches=5 does not divide the batch of 48 examples"
    ):
        make_loop(num_minibatches=5)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        shared().run(0)

    class Wide(envs.HostEnvironment):
        def step(self, action):
            time_step = super().step(action)
            return time_step._replace(reward=time_step.reward.astype(np.float64))

    loop = learners.OnPolicyLoop(make_agent(), Wide(jax_env(), 4), **OPTIONS, key=KEY)
    with pytest.raises(envs.SpecError, match=r"reward: expected .*float32.*got float64"):
        loop.run(1)


def test_rows_of_a_segment_are_as_the_driver_made_them():
    loop = restart(shared())
    rows = []
    loop.driver.observers = (rows.append,)
    loop.run(1)
    segment = loop._segment.unpack(loop._vectors)
    for t, row in enumerate([*rows, bootstrap_row(loop.driver.time_step, rows[-1])]):
        jax.tree.map(lambda x, y, t=t: np.testing.assert_array_equal(x[t], y), segment, row)
    assert segment.observation.shape == (13, 4, 4) and len(rows) == 12
