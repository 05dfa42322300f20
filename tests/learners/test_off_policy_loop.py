"""The fused loop computes what the plain one does, from every kind of buffer and environment."""

import dataclasses
import time

import jax
import numpy as np
import optax
import pytest

from jax_agents import agents, drivers, envs, learners, networks, policies, replay
from jax_agents.experiments import PRESETS
from jax_agents.learners import OffPolicyLoop, OffPolicyScan
from jax_agents.policies.policy import _act_compiled

KEY = jax.random.key(3)


def make_agent():
    env = envs.classic.CartPole()
    return agents.DqnAgent(
        env.specs,
        networks.QNetwork(2, hidden=(8,)),
        optax.adam(1e-2),
        epsilon=lambda step: 1 / (1 + step),
    )


def make_buffer(agent, **options):
    return replay.HostReplay(agent.collect_data_spec, capacity=500, sequence_length=2, **options)


def plain_loop(agent, env, buffer, num_iterations, batch_size, steps, updates):
    """The tutorial's loop, written out; the keys are those that `OffPolicyLoop` documents."""
    train_key, act_key, warm_up_key = jax.random.split(KEY, 3)
    state = agent.init(train_key)
    rows = []
    driver = drivers.Driver(
        env,
        policies.RandomPolicy(agent.specs.action),
        [buffer.add, rows.append],
        key=warm_up_key,
        seed=5,
    )
    due = 40
    driver.run(num_steps=due)
    driver.set_policy(agent.collect_policy, act_key)
    train = jax.jit(agent.train)
    dataset = buffer.as_dataset(batch_size * updates)
    for _ in range(num_iterations):
        due += steps  # what several environments make too much counts for the next iteration
        if driver.num_steps < due:
            driver.run(num_steps=due - driver.num_steps, params=agent.policy_params(state))
        experience, _ = next(dataset)
        for i in range(updates):
            part = jax.tree.map(lambda x, i=i: x[i * batch_size : (i + 1) * batch_size], experience)
            state, _ = train(state, part)
    return state, rows


def test_a_warm_up_in_parts_is_compiled_once():
    agent = make_agent()
    env = envs.HostEnvironment(envs.classic.CartPole())
    loop = learners.OffPolicyLoop(agent, env, make_buffer(agent), key=KEY, seed=5)
    before = _act_compiled._cache_size()
    for _ in range(3):
        loop.warm_up(10)
    assert _act_compiled._cache_size() == before + 1


@pytest.mark.parametrize(("num_envs", "steps", "updates"), [(None, 1, 1), (3, 7, 2)])
def test_equals_the_plain_loop(num_envs, steps, updates):
    agent = make_agent()
    rows = []
    loop = learners.OffPolicyLoop(
        agent,
        envs.HostEnvironment(envs.classic.CartPole(max_episode_steps=15), num_envs),
        make_buffer(agent, seed=1),
        batch_size=8,
        steps_per_iteration=steps,
        updates_per_iteration=updates,
        observers=[rows.append],
        key=KEY,
        seed=5,
    )
    loop.warm_up(40)
    loop.run(13)
    metrics = loop.run(12)
    env = envs.HostEnvironment(envs.classic.CartPole(max_episode_steps=15), num_envs)
    state, plain_rows = plain_loop(agent, env, make_buffer(agent, seed=1), 25, 8, steps, updates)
    assert len(rows) == len(plain_rows)
    jax.tree.map(np.testing.assert_array_equal, rows, plain_rows)
    expected, got = (
        jax.tree.leaves((s.params, s.target_params, s.opt_state, s.step))
        for s in (state, loop.state)
    )
    for a, b in zip(expected, got, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert int(loop.state.step) == 25 * updates
    assert set(metrics) == {"loss", "grad_norm", "q"} and all(
        np.isfinite(v) for v in metrics.values()
    )


def test_compiles_once_however_long_it_runs():
    agent = make_agent()
    env = envs.HostEnvironment(envs.classic.CartPole(max_episode_steps=9))
    loop = learners.OffPolicyLoop(agent, env, make_buffer(agent), batch_size=4, key=KEY)
    loop.warm_up(10)
    for _ in range(3):
        loop.run(15)
    assert loop._train_and_act._cache_size() == 1
    assert loop._act._cache_size() == 1


@pytest.mark.parametrize(("num_envs", "updates", "alpha"), [(None, 1, None), (3, 2, 0.6)])
def test_the_call_that_trains_is_compiled_ahead(caplog, num_envs, updates, alpha):
    agent = make_agent()
    env = envs.HostEnvironment(envs.classic.CartPole(), num_envs)
    with jax.log_compiles():  # says what this thread compiles
        loop = learners.OffPolicyLoop(
            agent,
            env,
            make_buffer(agent, priority_exponent=alpha),
            batch_size=4,
            updates_per_iteration=updates,
            key=KEY,
        )
        loop.warm_up(30)
        loop.run(3)
    compiled = [message for message in caplog.messages if "Finished XLA compilation" in message]
    assert any("jit(_act_packed)" in message for message in compiled)
    assert not any("jit(_train_and_act_packed)" in message for message in compiled)


def test_prioritised_replay_gets_its_priorities():
    agent = make_agent()
    buffer = make_buffer(agent, priority_exponent=0.6)
    loop = learners.OffPolicyLoop(
        agent, envs.HostEnvironment(envs.classic.CartPole()), buffer, batch_size=16, key=KEY
    )
    loop.warm_up(30)
    before = next(buffer.as_dataset(64)).info.priority
    assert (before == before[0]).all()
    loop.run(20)
    after = next(buffer.as_dataset(64)).info.priority
    assert len(np.unique(after)) > 5


def test_state_can_be_read_and_set():
    agent = make_agent()
    loop = learners.OffPolicyLoop(
        agent,
        envs.HostEnvironment(envs.classic.CartPole()),
        make_buffer(agent),
        batch_size=4,
        key=KEY,
    )
    loop.warm_up(10)
    saved = loop.state
    loop.run(3)
    assert int(loop.state.step) == 3
    loop.state = saved
    assert int(loop.state.step) == 0
    jax.tree.map(np.testing.assert_array_equal, loop.state.params, saved.params)


def test_metrics_that_are_asked_for():
    agent = make_agent()
    results = []
    states = []
    for metrics in (None, ["q"], []):
        env = envs.HostEnvironment(envs.classic.CartPole())
        loop = learners.OffPolicyLoop(
            agent, env, make_buffer(agent), batch_size=4, metrics=metrics, key=KEY, seed=3
        )
        loop.warm_up(10)
        results.append(loop.run(5))
        states.append(loop.state.params)
    assert list(results[1]) == ["q"] and results[2] == {}
    np.testing.assert_allclose(results[1]["q"], results[0]["q"], rtol=1e-5)
    jax.tree.map(
        lambda a, b, c: np.testing.assert_allclose([a, b], [c, c], rtol=1e-5, atol=1e-6), *states
    )
    with pytest.raises(ValueError, match="expected some of grad_norm, loss, q, got nothing"):
        learners.OffPolicyLoop(agent, env, make_buffer(agent), metrics=["nothing"], key=KEY)


def test_refuses_numbers_below_one():
    agent = make_agent()
    env = envs.HostEnvironment(envs.classic.CartPole())
    with pytest.raises(ValueError, match="OffPolicyLoop: expected batch_size >= 1, got 0"):
        learners.OffPolicyLoop(agent, env, make_buffer(agent), batch_size=0, key=KEY)
    loop = learners.OffPolicyLoop(agent, env, make_buffer(agent), key=KEY)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        loop.run(0)


# -- warming up, and not having warmed up

REPLAYING = [
    name
    for name, preset in PRESETS.items()
    if preset.config.learns_from is None and name not in ("APEX", "APEX_DDPG", "RAINBOW", "ES")
]
TINY = {
    "hidden": (4,), "head_hidden": (4,), "lstm_size": 4, "core_size": 4, "num_atoms": 3,
    "sequence_length": 3, "burn_in": 1, "batch_size": 2, "replay_capacity": 200,
    "warmup_steps": 24, "steps_per_iteration": 2,
}  # fmt: skip


def tiny(name):
    config = PRESETS[name].config
    known = {key: x for key, x in TINY.items() if getattr(config, key, None)}
    return dataclasses.replace(config, num_envs=2, **known)


def env_of(name):
    return envs.classic.Pendulum() if name in ("SAC", "TD3", "DDPG") else envs.classic.CartPole()


@pytest.mark.parametrize("kind", ["loop", "scan"])
@pytest.mark.parametrize("name", REPLAYING)
def test_every_agent_warms_up_with_a_policy_that_fits_it(name, kind):
    config, env = tiny(name), env_of(name)
    agent = config.agent(env.specs)
    if kind == "scan":
        loop = OffPolicyScan(agent, env, num_envs=2, warmup_rows=12, batch_size=2, capacity=200)
        state = jax.eval_shape(loop.init, jax.random.key(0))
        metrics = jax.eval_shape(loop.run, state, 1)[1]
        assert "loss" in metrics
        return
    length = agent.train_sequence_length
    buffer = replay.HostReplay(agent.collect_data_spec, capacity=200, sequence_length=length)
    loop = OffPolicyLoop(
        agent, envs.HostEnvironment(env, 2), buffer, batch_size=2, key=jax.random.key(0), seed=0
    )
    loop.warm_up(24)
    assert loop.driver.num_steps >= 24 and buffer.can_sample()
    random = isinstance(loop.driver.policy, policies.RandomPolicy)
    assert random == (not agent.collect_data_spec.policy_info)
    if name == "R2D2":
        assert np.isfinite(loop.run(2)["loss"])
        carry = next(buffer.as_dataset(2)).experience.policy_info["carry"]
        assert any(np.any(leaf) for leaf in jax.tree.leaves(carry))


def test_a_recurrent_agent_with_defaults_trains_in_the_loops():
    env = envs.classic.CartPole()
    network = networks.RecurrentQNetwork(2, networks.LSTM(4), hidden=(4,))
    agent = agents.RecurrentDqnAgent(env.specs, network, optax.adam(1e-3))
    length = agent.train_sequence_length
    buffer = replay.HostReplay(agent.collect_data_spec, capacity=500, sequence_length=length)
    loop = OffPolicyLoop(
        agent, envs.gym.make("CartPole-v1"), buffer, batch_size=2, key=jax.random.key(0)
    )
    loop.warm_up(100)
    assert np.isfinite(loop.run(2)["loss"])


BUFFERS = {
    "host": lambda spec: replay.HostReplay(spec, capacity=50),
    "min size": lambda spec: replay.HostReplay(spec, capacity=50, min_size=20),
    "prioritised": lambda spec: replay.HostReplay(spec, capacity=50, priority_exponent=0.6),
    "reverb": lambda spec: replay.ReverbReplay(spec, capacity=50),
}


@pytest.mark.parametrize("kind", BUFFERS)
def test_an_empty_buffer_says_at_once_what_is_missing(kind):
    if kind == "reverb" and not replay.has_reverb():
        pytest.skip("Reverb is not installed")
    env = envs.classic.CartPole()
    agent = agents.DqnAgent(env.specs, networks.QNetwork(2, (4,)), optax.adam(1e-3))
    buffer = BUFFERS[kind](agent.collect_data_spec)
    host = envs.HostEnvironment(env)
    loop = OffPolicyLoop(agent, host, buffer, batch_size=2, key=jax.random.key(0))
    begin = time.monotonic()
    with pytest.raises(RuntimeError, match=r"1 rows and cannot give a batch.*loop.warm_up\(num_"):
        loop.run(1)
    assert time.monotonic() - begin < 20  # buffers wait for 30 s
    loop.warm_up(30)
    assert np.isfinite(loop.run(1)["loss"])
    buffer.close()


def test_a_buffer_that_others_fill_is_waited_for():
    env = envs.classic.CartPole()
    agent = agents.DqnAgent(env.specs, networks.QNetwork(2, (4,)), optax.adam(1e-3))
    buffer = replay.HostReplay(agent.collect_data_spec, capacity=50, timeout=0.2)
    buffer.others_write = True  # as of a server
    host = envs.HostEnvironment(env)
    loop = OffPolicyLoop(agent, host, buffer, batch_size=2, key=jax.random.key(0))
    with pytest.raises(TimeoutError):
        loop.run(1)


def test_a_buffer_that_cannot_tell_is_asked_for_a_batch():
    class Plain:
        priority_exponent = None

        def __init__(self, inner):
            self.add, self.as_dataset = inner.add, inner.as_dataset

    env = envs.classic.CartPole()
    agent = agents.DqnAgent(env.specs, networks.QNetwork(2, (4,)), optax.adam(1e-3))
    inner = replay.HostReplay(agent.collect_data_spec, capacity=50, timeout=0.2)
    host = envs.HostEnvironment(env)
    loop = OffPolicyLoop(agent, host, Plain(inner), batch_size=2, key=jax.random.key(0))
    with pytest.raises(TimeoutError):
        loop.run(1)
