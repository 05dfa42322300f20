"""The whole loop on device: exact repeats and resumes, seeds and hyperparameters by vmap, one
trace, prioritised replay.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_agents import agents, envs, learners, networks
from jax_agents.learners import OffPolicyScan

ENV = envs.classic.CartPole(max_episode_steps=25)
NETWORK = networks.QNetwork(2, (16,))
AGENT = agents.DqnAgent(
    ENV.specs, NETWORK, optax.adam(1e-2), epsilon=0.3, target_update=agents.periodic(7)
)
LOOP = OffPolicyScan(
    AGENT,
    ENV,
    num_envs=3,
    rows_per_iteration=2,
    updates_per_iteration=2,
    batch_size=8,
    capacity=600,
    warmup_rows=40,
)


@pytest.fixture(scope="module")
def init():
    return jax.jit(LOOP.init)


@pytest.fixture(scope="module")
def run():
    """The compiled loop; the numbers of iterations and of reports are static."""
    return jax.jit(LOOP.run, static_argnums=(1, 2))


@pytest.fixture(scope="module")
def started(init):
    return init(jax.random.key(0))


@pytest.fixture(scope="module")
def ran(run, started):
    return run(started, 20, 4)


def raw(tree):
    """The tree with its random keys as numbers, so that leaves can be compared."""
    is_key = lambda x: jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
    return jax.tree.map(lambda x: jax.random.key_data(x) if is_key(x) else x, tree)


def test_the_warm_up_fills_the_buffer_with_random_rows(started):
    assert int(LOOP.buffer.num_rows(started.replay)) == 40 * 3
    assert int(started.train.step) == int(started.iteration) == 0
    sample = LOOP.buffer.sample(started.replay, jax.random.key(1), 300).experience
    assert 0.35 < float(sample.action.mean()) < 0.65
    np.testing.assert_array_equal(sample.step_type[:, 1], sample.next_step_type[:, 0])
    assert set(np.ravel(sample.step_type)) == {0, 1, 2}


def test_counters_and_metrics_of_a_run(ran):
    state, metrics = ran
    assert int(state.iteration) == 20 and int(state.train.step) == 40
    assert int(LOOP.buffer.num_rows(state.replay)) == (40 + 20 * 2) * 3
    assert int(state.rollout.row) == 40 + 20 * 2
    assert {name: x.shape for name, x in metrics.items()} == dict.fromkeys(
        (
            *("loss", "grad_norm", "q", "steps", "episodes", "episode_return"),
            *("episode_length", "episode_return_max", "episode_return_min"),
        ),
        (4,),
    )
    assert np.isfinite(metrics["loss"]).all()
    finished = np.asarray(metrics["episodes"]) > 0
    assert finished.any()
    returns = np.asarray(metrics["episode_return"])
    assert (returns[~finished] == 0).all()
    assert (returns[finished] >= 8).all() and (returns[finished] <= 25).all()


def test_the_same_seed_repeats_exactly_and_another_differs(init, run, ran):
    again, metrics = run(init(jax.random.key(0)), 20, 4)
    chex.assert_trees_all_equal(raw(again), raw(ran[0]))
    chex.assert_trees_all_equal(metrics, ran[1])
    other, _ = run(init(jax.random.key(1)), 20, 4)
    assert not np.array_equal(
        other.train.params["q"]["params"]["Dense_0"]["bias"],
        ran[0].train.params["q"]["params"]["Dense_0"]["bias"],
    )


def test_n_then_m_iterations_are_exactly_n_plus_m(run, started, ran):
    half, first = run(started, 10, 2)
    whole, second = run(half, 10, 2)
    chex.assert_trees_all_equal(raw(whole), raw(ran[0]))
    joined = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), first, second)
    chex.assert_trees_all_equal(joined, ran[1])


def test_seeds_by_vmap_equal_single_runs():
    keys = jax.random.split(jax.random.key(4), 3)
    loop = OffPolicyScan(AGENT, ENV, num_envs=2, batch_size=8, capacity=200, warmup_rows=20)
    together = jax.jit(jax.vmap(lambda key: loop.train(key, 1)[0]))(keys)
    alone = jax.jit(lambda key: loop.train(key, 1)[0])
    for i, key in enumerate(keys):
        one = jax.tree.map(lambda x, i=i: x[i], together)
        expected = alone(key)
        chex.assert_trees_all_close(one.train.params, expected.train.params, rtol=1e-5, atol=1e-6)
        chex.assert_trees_all_close(
            one.rollout.time_step, expected.rollout.time_step, rtol=1e-5, atol=1e-6
        )
    biases = together.train.params["q"]["params"]["Dense_0"]["kernel"]
    assert not np.array_equal(biases[0], biases[1])


def test_hyperparameters_by_vmap_equal_the_agents_built_with_numbers():
    def experiment(learning_rate, gamma, epsilon):
        agent = agents.DqnAgent(
            ENV.specs, NETWORK, optax.sgd(learning_rate), gamma=gamma, epsilon=epsilon
        )
        loop = OffPolicyScan(agent, ENV, batch_size=8, capacity=100, warmup_rows=20)
        return loop.train(jax.random.key(3), num_iterations=3)[0].train.params

    rates = jnp.array([0.1, 0.1, 0.0])
    gammas = jnp.array([0.9, 0.2, 0.9])
    epsilons = jnp.array([0.1, 0.1, 1.0])
    swept = jax.jit(jax.vmap(experiment))(rates, gammas, epsilons)
    bias = np.asarray(swept["q"]["params"]["Dense_0"]["bias"])
    expected = jax.jit(lambda: experiment(0.1, 0.2, 0.1))()
    np.testing.assert_allclose(
        bias[1], expected["q"]["params"]["Dense_0"]["bias"], rtol=1e-4, atol=1e-6
    )
    assert not np.allclose(bias[0], bias[1])
    np.testing.assert_allclose(bias[2], -0.2)  # a learning rate of 0 leaves the initial bias


def test_a_loop_is_traced_once_however_long_and_its_state_is_donated(init):
    chex.clear_trace_counter()
    traced = chex.assert_max_traces(LOOP.run, n=1)
    run = jax.jit(lambda state: traced(state, 5), donate_argnums=0)
    state = init(jax.random.key(2))
    for _ in range(3):
        before = state
        state, _ = run(state)
        assert before.replay.head.is_deleted()
    assert int(state.iteration) == 15


def test_prioritised_replay_weights_batches_and_learns_priorities():
    env = envs.probes.ObservationReward()
    agent = agents.DqnAgent(env.specs, networks.QNetwork(2, (8,)), optax.adam(0.02), gamma=0.9)
    beta = optax.linear_schedule(0.4, 1.0, 300)
    loop = OffPolicyScan(
        agent,
        env,
        num_envs=2,
        batch_size=16,
        capacity=64,
        warmup_rows=32,
        priority_exponent=0.6,
        importance_exponent=beta,
    )
    start = jax.jit(loop.init)(jax.random.key(0))
    state, metrics = jax.jit(lambda s: loop.run(s, 300, 3))(start)
    leaves = np.asarray(state.replay.tree[0]).ravel()[:64]
    assert len(np.unique(leaves)) > 10  # priorities were set, from TD errors
    values = agent.value(agent.policy_params(state.train), jnp.array([[-1.0], [1.0]]))
    np.testing.assert_allclose(values, [-1, 1], atol=0.1)
    assert float(metrics["loss"][-1]) < float(metrics["loss"][0])


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"num_envs": 0}, "num_envs >= 1, got 0"),
        ({"rows_per_iteration": 0}, "rows_per_iteration >= 1"),
        ({"updates_per_iteration": 0}, "updates_per_iteration >= 1"),
        ({"batch_size": 0}, "batch_size >= 1"),
        ({"warmup_rows": 1}, "hold no window of 2 rows; use at least 2"),
        ({"capacity": 1}, "capacity=1"),
    ],
)
def test_bad_numbers(options, match):
    with pytest.raises(ValueError, match=match):
        learners.OffPolicyScan(AGENT, ENV, **options)
