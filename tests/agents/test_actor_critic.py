"""What holds for every off-policy actor-critic agent."""

import dataclasses
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_agents import agents, envs
from jax_agents.agents.targets import polyak
from jax_agents.drivers import Driver
from jax_agents.drivers.rollout import rollout, start_rollout
from jax_agents.envs import probes
from jax_agents.envs.specs import ArraySpec, BoundedSpec, DiscreteSpec, EnvironmentSpecs, sample
from jax_agents.envs.types import StepType, TimeStep
from jax_agents.learners.off_policy_scan import OffPolicyScan
from jax_agents.networks import (
    ActorNetwork,
    CriticNetwork,
    DeterministicActor,
    QNetwork,
    TanhNormalActor,
)
from jax_agents.policies import RandomPolicy
from jax_agents.replay import HostReplay

KINDS = ["sac", "td3", "ddpg", "discrete_sac"]
CLASSES = {
    "sac": agents.SacAgent,
    "td3": agents.Td3Agent,
    "ddpg": agents.DdpgAgent,
    "discrete_sac": agents.DiscreteSacAgent,
}
BOX = EnvironmentSpecs(ArraySpec((3,)), BoundedSpec((2,), np.float32, (-1.0, 0.0), (3.0, 0.5)))
THREE = EnvironmentSpecs(ArraySpec((3,)), DiscreteSpec(3))


def make(kind, specs=None, hidden=(8,), optimizer=None, **fields):
    specs = (THREE if kind == "discrete_sac" else BOX) if specs is None else specs
    optimizer = optax.sgd(0.1) if optimizer is None else optimizer
    if kind == "discrete_sac":
        networks = ActorNetwork(specs.action, hidden), QNetwork(specs.action.num_values, hidden)
    else:
        actor = TanhNormalActor if kind == "sac" else DeterministicActor
        networks = actor(specs.action, hidden), CriticNetwork(hidden)
    return CLASSES[kind](specs, *networks, optimizer, **fields)


def rows(agent, batch_size=6, seed=0, step_type=StepType.MID):
    spec, shape = agent.collect_data_spec, (batch_size, agent.train_sequence_length)
    drawn = sample(spec, jax.random.key(seed), shape)
    types = jnp.full(shape, StepType.MID)
    return drawn._replace(
        step_type=types.at[:, 0].set(step_type), next_step_type=types, discount=jnp.full(shape, 0.9)
    )


def close(a, b, rtol=1e-5, atol=1e-6):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=atol), a, b)


# of plain SGD, as Adam would hide a wrong scale
RATES = {
    "actor": 0.1,
    "critic": 0.2,
    "alpha": 0.05,
}


@cache
def prepared(kind):
    """An agent whose actor moves in every update, three states, compiled `train` and gradients."""
    rates = {
        role: optax.sgd(rate) for role, rate in RATES.items() if role != "alpha" or "sac" in kind
    }
    agent = make(
        kind,
        optimizer=rates,
        target_update=polyak(0.5),
        **({"actor_delay": 1} if kind == "td3" else {}),
    )
    states = jax.jit(jax.vmap(agent.init))(jax.random.split(jax.random.key(0), 3))

    @jax.jit
    def gradients(state, batch, weights):
        def losses(params):
            info = agent.loss(params, state, batch, jax.random.split(state.key)[1], weights)
            return {"all": info.loss} | {role: info.metrics[f"{role}_loss"] for role in params}

        return losses(state.params), jax.jacrev(losses)(state.params)

    return agent, states, jax.jit(agent.train), gradients


def nth(tree, i):
    return jax.tree.map(lambda x: x[i], tree)


def zero(tree):
    return all((leaf == 0).all() for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("kind", KINDS)
def test_the_one_update_equals_separate_updates_of_each_role(kind):
    agent, states, train, gradients = prepared(kind)
    state, batch = nth(states, 0), rows(agent)
    losses, grads = gradients(state, batch, jnp.ones(6))
    after, info = train(state, batch)
    for role, params in state.params.items():
        separate = jax.tree.map(
            lambda p, g, rate=RATES[role]: p - rate * g, params, grads[role][role]
        )
        close(after.params[role], separate, rtol=1e-6)
        assert not zero(grads[role][role]) and zero(
            {other: grads[role][other] for other in state.params if other != role}
        )
    np.testing.assert_allclose(info.loss, sum(losses[role] for role in state.params), rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_boundary_rows_have_no_gradient_and_padding_counts_nothing(kind):
    agent, states, _, gradients = prepared(kind)
    state, batch, ones = nth(states, 0), rows(agent), jnp.ones(6)
    grad = lambda batch, weights: gradients(state, batch, weights)[1]["all"]
    assert zero(grad(rows(agent, step_type=StepType.LAST), ones))
    # A batch whose second half are boundary rows, or have weight 0: what they hold does not matter.
    mixed = jax.tree.map(lambda a, b: jnp.concatenate([a[:3], b[3:]]), batch, rows(agent, seed=5))
    halves = jnp.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    expected = grad(batch, halves)
    assert not zero(expected)
    close(grad(mixed, halves), expected)
    close(
        grad(mixed._replace(step_type=mixed.step_type.at[3:, 0].set(StepType.LAST)), ones), expected
    )


@pytest.mark.parametrize("kind", KINDS)
def test_two_shards_equal_one_batch_and_mapped_seeds_equal_single_ones(kind):
    agent, states, train, _ = prepared(kind)
    batch = rows(agent)
    mapped, _ = jax.jit(jax.vmap(agent.train, in_axes=(0, None)))(states, batch)
    for i in range(3):
        single, info = train(nth(states, i), batch)
        close(nth((mapped.params, mapped.target_params), i), (single.params, single.target_params))
    assert any((leaf[0] != leaf[1]).any() for leaf in jax.tree.leaves(mapped.params))

    shards = jax.tree.map(lambda x: x.reshape(2, 3, *x.shape[1:]), batch)
    sharded = jax.jit(jax.vmap(partial(agent.train, shards="d"), in_axes=(None, 0), axis_name="d"))
    after, sharded_info = sharded(nth(states, 2), shards)
    for i in range(2):
        close(nth(after.params, i), single.params)
    np.testing.assert_allclose(sharded_info.loss, jnp.full(2, info.loss), rtol=1e-5)


FIELDS = {  # two values of each float, both traced
    "gamma": (0.9, 0.5),
    "temperature": (1.0, 0.3),
    "target_entropy": (-1.0, 1.0),
    "target_entropy_ratio": (0.98, 0.1),
    "target_noise": (0.2, 1.0),
    "target_noise_clip": (0.5, 0.01),
    "exploration_noise": (0.1, 0.7),
    "exploration_damping": (0.2, 0.9),
    "tau": (0.1, 0.9),
    "delta": (1.0, 0.01),
}


@pytest.mark.parametrize("kind", ["sac", "td3", "discrete_sac"])
def test_every_field_changes_something_and_floats_may_be_traced(kind):
    """Two updates and two actions from the same key and data, of agents that differ in one field,
    under one vmap.
    """
    fields = {field.name for field in dataclasses.fields(CLASSES[kind])}
    names = [name for name in FIELDS if name in fields or name in ("tau", "delta")]

    def outcome(values):
        given = dict(zip(names, values, strict=True))
        tau, delta = given.pop("tau"), given.pop("delta")
        agent = make(
            kind,
            td_loss=lambda x: agents.losses.huber(x, delta),
            target_update=polyak(tau),
            **given,
        )
        state, infos = agent.init(jax.random.key(0)), []
        for _ in range(2):
            state, info = agent.train(state, rows(agent, 4))
            infos.append(info.metrics)
        time_step = TimeStep(jnp.zeros(4, jnp.int32), jnp.zeros(4), jnp.ones(4), jnp.ones((4, 3)))
        policy, params = agent.collect_policy, agent.policy_params(state)
        step = policy.action(params, time_step, policy.initial_state((4,)), jax.random.key(1))
        second = policy.action(
            params,
            time_step._replace(step_type=jnp.ones(4, jnp.int32)),
            step.state,
            jax.random.key(1),
        )
        leaves = jax.tree.leaves((state.params, state.target_params, infos, second.action))
        return jnp.concatenate([jnp.ravel(leaf) for leaf in leaves])

    table = np.array(
        [[FIELDS[name][i == j] for j, name in enumerate(names)] for i in range(-1, len(names))],
        np.float32,
    )
    base, *others = np.asarray(jax.jit(jax.vmap(outcome))(table))
    assert [name for name, other in zip(names, others, strict=True) if (other == base).all()] == []
    # The rest is structure.
    structure = {"n_step": 2, "num_critics": 3, "learn_temperature": False, "actor_delay": 3}
    assert fields - set(names) == {
        "specs",
        "actor",
        "critic",
        "optimizer",
        "td_loss",
        "target_update",
    } | (fields & set(structure))
    describe = lambda agent: (
        agent.train_sequence_length,
        jax.eval_shape(agent.init, jax.random.key(0)),
    )
    for name in fields & set(structure) - {"actor_delay"}:  # which tests/agents/test_td3.py counts
        assert str(describe(make(kind))) != str(describe(make(kind, **{name: structure[name]}))), (
            name
        )


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_actions_are_the_mode_and_all_actions_keep_to_the_spec(kind):
    agent, states, _, _ = prepared(kind)
    params = agent.policy_params(nth(states, 0))
    wild = jax.tree.map(lambda x: 30.0 * x, params["params"])  # far into the tanh's ends
    time_step = TimeStep(
        jnp.ones(64, jnp.int32),
        jnp.zeros(64),
        jnp.ones(64),
        jax.random.normal(jax.random.key(1), (64, 3)),
    )
    greedy = agent.policy.action(params, time_step)
    np.testing.assert_array_equal(
        greedy.action, agent.policy.action(params, time_step, key=jax.random.key(9)).action
    )
    np.testing.assert_array_equal(
        greedy.action, agent.policy.distribution(params, time_step).action.mode()
    )
    policy = agent.collect_policy
    for step, given in enumerate([params, {**params, "params": wild}]):
        action = policy.action(
            given, time_step, policy.initial_state((64,)), jax.random.key(step)
        ).action
        envs.validate(np.asarray(action), agent.specs.action, batch_ndim=1, values=True)
        assert (action != agent.policy.action(given, time_step).action).any()
    assert agent.value(params, time_step.observation).shape == (64,)


# -- learning: each probe's rows are drawn by the random policy once; an agent compiles once for all
# of them

GAMMA = 0.9


@cache
def probe_rows(env, num_rows=2048):
    policy = RandomPolicy(env.specs.action)
    state = start_rollout(env, policy, jax.random.key(0), jax.random.key(1), 1)
    return jax.jit(partial(rollout, env, policy, {}, num_rows=num_rows))(state)[1]


def trained(kind, probe_list, num_updates):
    agent = make(
        kind, probe_list[0].specs, (16,), optax.adam(1e-2), gamma=GAMMA, target_update=polyak(0.05)
    )
    if kind in ("sac", "discrete_sac"):  # a little entropy keeps the best action near the mode
        agent = dataclasses.replace(agent, temperature=0.1)

    @jax.jit
    def train(data, key):
        def update(state, i):
            starts = jax.random.randint(
                jax.random.fold_in(key, i), (64,), 0, data.step_type.shape[1] - 1
            )
            windows = jax.tree.map(
                lambda x: jnp.stack([x[0, starts], x[0, starts + 1]], axis=1), data
            )
            return agent.train(state, windows)

        return jax.lax.scan(update, agent.init(key), jnp.arange(num_updates))[0]

    value, act = jax.jit(agent.value), jax.jit(agent.policy.action)
    for env in probe_list:
        params = agent.policy_params(train(probe_rows(env), jax.random.key(7)))
        observations, values = env.expected_values(GAMMA)
        count = len(observations)
        time_step = TimeStep(
            jnp.ones(count, jnp.int32), jnp.zeros(count), jnp.ones(count), jnp.asarray(observations)
        )
        yield (
            env,
            np.asarray(value(params, observations)),
            values,
            np.asarray(act(params, time_step).action),
        )


@pytest.mark.learning
@pytest.mark.parametrize("kind", KINDS)
def test_probes_are_learned_and_time_limits_bootstrapped_through(kind):
    continuous = kind != "discrete_sac"
    probe_list = [*probes.all_probes(continuous), probes.OneState(continuous)]
    for env, got, values, actions in trained(kind, probe_list, 2000):
        scale = np.maximum(1.0, np.abs(values))  # within 0.1, of 10 for the endless one
        np.testing.assert_allclose(
            got / scale, values / scale, atol=0.1, err_msg=type(env).__name__
        )
        if env.best_actions() is not None:
            np.testing.assert_allclose(
                actions, env.best_actions(), atol=0.1, err_msg=type(env).__name__
            )


def test_discrete_sac_acts_by_its_mask():
    env = probes.MaskedActions()
    agent = make("discrete_sac", env.specs)
    params = agent.policy_params(jax.jit(agent.init)(jax.random.key(0)))
    masks = np.array([[True, False, False, False], [False, False, True, True]])
    time_step = TimeStep(
        np.zeros(2, np.int32),
        np.zeros(2),
        np.ones(2),
        {"observation": np.zeros((2, 1), np.float32), "action_mask": masks},
    )
    for seed in range(5):
        action = agent.collect_policy.action(params, time_step, (), jax.random.key(seed)).action
        assert masks[np.arange(2), np.asarray(action)].all()
    assert np.isfinite(agent.value(params, time_step.observation)).all()


def test_updates_to_data_ratio_through_the_scan():
    env = envs.classic.Pendulum()
    agent = make("sac", env.specs, optimizer=optax.adam(1e-3))
    loop = OffPolicyScan(
        agent, env, updates_per_iteration=3, batch_size=8, capacity=64, warmup_rows=16
    )
    state, metrics = jax.jit(lambda key: loop.run(loop.init(key), 5))(jax.random.key(0))
    assert state.train.step == 15 and state.iteration == 5
    assert np.isfinite(metrics["loss"]).all()


def test_the_python_loop_carries_the_noise_of_each_environment():
    env = envs.HostEnvironment(envs.classic.Pendulum(), num_envs=2)
    agent = make("ddpg", env.specs, optimizer=optax.adam(1e-3), exploration_damping=0.15)
    state = jax.jit(agent.init)(jax.random.key(0))
    buffer = HostReplay(
        agent.collect_data_spec, capacity=100, sequence_length=agent.train_sequence_length
    )
    driver = Driver(
        env, agent.collect_policy, observers=[buffer.add], key=jax.random.key(1), seed=0
    )
    driver.run(num_steps=40, params=agent.policy_params(state))
    noise = np.asarray(driver.policy_state[1])
    assert noise.shape == (2, 1) and noise[0] != noise[1]
    experience, _ = next(buffer.as_dataset(sample_batch_size=8))
    state, info = jax.jit(agent.train)(state, experience)
    assert state.step == 1 and np.isfinite(info.loss)
