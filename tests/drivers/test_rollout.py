"""One agent in the Python loop, the vectorised loop and the scan: the same rows and parameters."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_agents import agents, envs, networks, policies
from jax_agents.drivers import Driver, RolloutState, rollout, start_rollout

SEED = 5
ACT_KEY = 11
NUM_ROWS = 90
ENV = envs.classic.CartPole(max_episode_steps=30)
AGENT = agents.DqnAgent(ENV.specs, networks.QNetwork(2, (16,)), optax.adam(1e-2), epsilon=0.3)


@pytest.fixture(scope="module")
def state():
    return AGENT.init(jax.random.key(0))


@pytest.fixture(scope="module")
def scan():
    """The compiled scan, from a rollout's state."""
    return jax.jit(
        lambda train_state, start, num_rows: rollout(
            ENV, AGENT.collect_policy, AGENT.policy_params(train_state), start, num_rows
        ),
        static_argnums=2,
    )


def drive(state, num_envs, num_rows=NUM_ROWS):
    """Rows [num_rows, ...] of the Python loop."""
    rows = []
    env = envs.HostEnvironment(ENV, num_envs)
    driver = Driver(
        env, AGENT.collect_policy, [rows.append], key=jax.random.key(ACT_KEY), seed=SEED
    )
    driver.run(num_rows=num_rows, params=AGENT.policy_params(state))
    return jax.tree.map(lambda *x: np.stack(x), *rows)


def begin(num_envs):
    return start_rollout(
        ENV, AGENT.collect_policy, jax.random.key(SEED), jax.random.key(ACT_KEY), num_envs
    )


@pytest.mark.parametrize("num_envs", [1, 4])
def test_the_scan_makes_the_rows_of_the_loop(state, scan, num_envs):
    looped = drive(state, num_envs)
    _, scanned = scan(state, begin(num_envs), NUM_ROWS)
    assert scanned.reward.shape == (num_envs, NUM_ROWS)
    assert set(np.ravel(scanned.step_type)) == {0, 1, 2}  # boundary rows are among them
    assert 0 < np.mean(scanned.action) < 1
    chex.assert_trees_all_close(
        jax.tree.map(lambda x: np.swapaxes(x, 0, 1), looped), scanned, rtol=1e-5, atol=1e-6
    )
    chex.assert_trees_all_equal_dtypes(looped, scanned)
    types = np.asarray(scanned.step_type)
    np.testing.assert_array_equal(types[:, 1:], np.asarray(scanned.next_step_type)[:, :-1])


def test_the_unbatched_loop_is_the_scan_of_one_environment(state, scan):
    """An unbatched environment resets with the key itself; from there on, draws are the same."""
    one = jax.tree.map(lambda x: x[None], ENV.reset(jax.random.key(SEED)))
    start = RolloutState(*one, (), jax.random.key(ACT_KEY), jnp.zeros((), jnp.int32))
    _, scanned = scan(state, start, NUM_ROWS)
    chex.assert_trees_all_close(
        drive(state, None), jax.tree.map(lambda x: x[0], scanned), rtol=1e-5, atol=1e-6
    )


def test_a_rollout_in_parts_is_the_whole(state, scan):
    _, whole = scan(state, begin(4), NUM_ROWS)
    here = begin(4)
    parts = []
    for num_rows in (1, 49, 40):  # one row has no scan of its own
        here, rows = scan(state, here, num_rows)
        parts.append(rows)
    assert int(here.row) == NUM_ROWS
    chex.assert_trees_all_equal(whole, jax.tree.map(lambda *x: jnp.concatenate(x, axis=1), *parts))


def test_acting_is_traced_once_however_long(state):
    chex.clear_trace_counter()
    run = jax.jit(
        chex.assert_max_traces(
            lambda s, start: rollout(ENV, AGENT.collect_policy, AGENT.policy_params(s), start, 5),
            n=1,
        )
    )
    here = begin(2)
    for _ in range(4):
        here, _ = run(state, here)
    assert int(here.row) == 20


def test_both_loops_train_to_the_same_parameters(state, scan):
    """Acting and learning in turn: the loop with `jit(train)`, and the scan of both."""
    windows = lambda rows: jax.tree.map(
        lambda x: jnp.stack([x[:, :2], x[:, 1:3]], 1).reshape(8, 2, *x.shape[2:]), rows
    )

    @jax.jit
    def fused(train_state, start):
        def body(carry, _):
            train_state, here = carry
            here, rows = rollout(
                ENV, AGENT.collect_policy, AGENT.policy_params(train_state), here, 3
            )
            return (AGENT.train(train_state, windows(rows))[0], here), rows

        (train_state, _), rows = jax.lax.scan(body, (train_state, start), length=15)
        return train_state, rows

    scanned, scanned_rows = fused(state, begin(4))
    train = jax.jit(AGENT.train)
    looped = state
    rows = []
    env = envs.HostEnvironment(ENV, 4)
    driver = Driver(
        env, AGENT.collect_policy, [rows.append], key=jax.random.key(ACT_KEY), seed=SEED
    )
    for _ in range(15):
        driver.run(num_rows=3, params=AGENT.policy_params(looped))
        looped, _ = train(looped, windows(jax.tree.map(lambda *x: np.stack(x, 1), *rows[-3:])))
    assert int(looped.step) == int(scanned.step) == 15
    chex.assert_trees_all_close(looped.params, scanned.params, rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_close(looped.target_params, scanned.target_params, rtol=1e-5, atol=1e-6)
    actions = np.stack([row.action for row in rows], 1)
    np.testing.assert_array_equal(
        actions, np.moveaxis(np.asarray(scanned_rows.action), 0, 1).reshape(4, 45)
    )


def test_a_policy_in_plain_python_is_refused():
    rule = policies.PythonPolicy(ENV.specs.action, lambda observation: 0)
    with pytest.raises(TypeError, match="PythonPolicy is a policy in plain Python"):
        start_rollout(ENV, rule, jax.random.key(0), jax.random.key(1))
