"""What DQN, C51, QR-DQN and recurrent DQN share, with options in many combinations."""

import dataclasses
import itertools
from functools import cache, partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_agents import agents, envs
from jax_agents.agents.value_based import ValueBasedAgent
from jax_agents.drivers.rollout import rollout, start_rollout
from jax_agents.envs.specs import ArraySpec, DiscreteSpec, EnvironmentSpecs
from jax_agents.envs.types import StepType, TimeStep
from jax_agents.networks import GRU, QNetwork, RecurrentQNetwork
from jax_agents.policies import RandomPolicy

MID, LAST = StepType.MID, StepType.LAST
SPECS = EnvironmentSpecs(ArraySpec((1,)), DiscreteSpec(2))
MASKED = EnvironmentSpecs(
    {"observation": ArraySpec((1,)), "action_mask": ArraySpec((2,), np.bool_)}, DiscreteSpec(2)
)


def dqn(specs=SPECS, dueling=True, noisy=None, **options):
    network = QNetwork(2, (16,), head_hidden=(16,), dueling=dueling, noisy_sigma=noisy)
    return agents.DqnAgent(
        specs, network, **{"optimizer": optax.adam(1e-2), "double": True} | options
    )


def c51(specs=SPECS, noisy=None, dueling=True, **options):
    network = QNetwork(2, (16,), dueling=dueling, num_atoms=21, noisy_sigma=noisy)
    bounds = {"v_min": -2.0, "v_max": 2.0}
    return agents.CategoricalDqnAgent(
        specs, network, **{"optimizer": optax.adam(1e-2)} | bounds | options
    )


def qr(specs=SPECS, noisy=None, dueling=False, **options):
    network = QNetwork(2, (16,), dueling=dueling, num_atoms=5, noisy_sigma=noisy)
    return agents.QrDqnAgent(specs, network, **{"optimizer": optax.adam(1e-2)} | options)


def recurrent(specs=SPECS, **options):
    network = RecurrentQNetwork(2, core=GRU(8), hidden=(8,), dueling=True)
    short = {"optimizer": optax.adam(1e-2), "sequence_length": 3, "burn_in": 1}
    return agents.RecurrentDqnAgent(specs, network, **short | options)


KINDS = {"dqn": dqn, "c51": c51, "qr": qr, "recurrent": recurrent}
FLAT = {"dqn": dqn, "c51": c51, "qr": qr}


def random_rows(agent, key, batch=5):
    """Rows from within an episode, of the agent's spec and length, otherwise random."""
    rows = envs.sample(agent.collect_data_spec, key, (batch, agent.train_sequence_length))
    middle = jnp.full_like(rows.step_type, MID)
    return rows._replace(step_type=middle, next_step_type=middle)


def loss_and_grads(agent, rows, weights=None):
    state = agent.init(jax.random.key(0))

    @jax.jit
    def run(params):
        info = agent.loss(params, state, rows, jax.random.key(1), weights)
        return info.loss, info

    (_, info), grads = jax.value_and_grad(run, has_aux=True)(state.params)
    return info, grads


@cache
def probe_rows(length):
    """Windows `[5, 128, length, ...]` of random play in the five probes, which start at each of
    four rows in turn.
    """
    data = []
    for env in envs.probes.all_probes():
        policy = RandomPolicy(env.specs.action)
        start = start_rollout(env, policy, jax.random.key(0), jax.random.key(1), 32)
        _, rows = jax.jit(partial(rollout, env, policy, (), num_rows=length + 3))(start)
        data.append(
            jax.tree.map(lambda x: jnp.concatenate([x[:, i : i + length] for i in range(4)]), rows)
        )
    return jax.tree.map(lambda *x: jnp.stack(x), *data)


@pytest.mark.learning
@pytest.mark.parametrize(
    "make",
    [
        dqn,
        partial(dqn, noisy=0.1, dueling=False, n_step=2),
        partial(c51, double=True),
        partial(qr, double=True),
        partial(recurrent, stored_carry=False, burn_in=0, sequence_length=4),
    ],
    ids=["dqn", "dqn noisy 2-step", "c51", "qr", "recurrent"],
)
def test_every_probe_is_learned(make):
    """All five at once, from random play: one compilation. (From their own: the learning gates.)"""
    gamma = 0.9
    agent = make(gamma=gamma, target_update=agents.periodic(20))
    rows = probe_rows(agent.train_sequence_length)

    @jax.jit
    @jax.vmap
    def learn(rows, key):
        def update(state, _):
            return agent.train(state, rows)[0], None

        return jax.lax.scan(update, agent.init(key), length=500)[0]

    states = learn(rows, jax.random.split(jax.random.key(0), 5))
    for i, env in enumerate(envs.probes.all_probes()):
        params = agent.policy_params(jax.tree.map(lambda x, i=i: x[i], states))
        observations, values = env.expected_values(gamma)
        np.testing.assert_allclose(
            agent.value(params, observations), values, atol=0.1, err_msg=str(env)
        )
        if (best := env.best_actions()) is not None:
            np.testing.assert_array_equal(agent.q_values(params, observations).argmax(-1), best)


@pytest.mark.parametrize("options", [{}, {"double": True}, {"n_step": 3}])
@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_boundary_rows_have_exactly_no_gradient(make, options):
    agent = make(**options)
    rows = random_rows(agent, jax.random.key(2))
    info, grads = loss_and_grads(
        agent, rows._replace(step_type=jnp.full_like(rows.step_type, LAST))
    )
    assert float(info.loss) == 0.0 and not info.per_example["td_error"].any()
    assert not any(leaf.any() for leaf in jax.tree.leaves(grads))
    _, grads = loss_and_grads(agent, rows)
    assert any(leaf.any() for leaf in jax.tree.leaves(grads))


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_weights_multiply_the_examples_losses(make):
    agent = make()
    rows = random_rows(agent, jax.random.key(3), batch=2)
    both, grads = loss_and_grads(agent, rows, np.array([0.0, 2.0], np.float32))
    alone, single = loss_and_grads(agent, jax.tree.map(lambda x: x[1:], rows))
    np.testing.assert_allclose(both.loss, alone.loss, rtol=1e-5)
    chex.assert_trees_all_close(grads, single, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("double", [False, True])
def test_masks_hold_in_targets_and_in_acting(make, double):
    """No forbidden next action is followed, unless all are; and none is ever taken."""
    agent = make(MASKED, double=double, epsilon=0.5)
    state = agent.init(jax.random.key(0))
    rows = random_rows(agent, jax.random.key(4))
    allow = lambda *mask: rows._replace(
        observation=rows.observation
        | {"action_mask": jnp.broadcast_to(jnp.array(mask), (*rows.reward.shape, 2))}
    )
    loss = jax.jit(lambda rows: agent.loss(state.params, state, rows, jax.random.key(1)).loss)
    free, only_0, only_1, none = (
        float(loss(allow(*m))) for m in ((True, True), (True, False), (False, True), (False, False))
    )
    assert only_0 != only_1  # what is followed is what is allowed
    assert free == none  # where everything is forbidden, nothing is
    observation = {
        "observation": jnp.zeros((200, 1)),
        "action_mask": jnp.tile(jnp.array([False, True]), (200, 1)),
    }
    time_step = TimeStep(jnp.full(200, MID), jnp.zeros(200), jnp.ones(200), observation)
    for policy in (agent.policy, agent.collect_policy):
        step = policy.action(
            agent.policy_params(state), time_step, policy.initial_state((200,)), jax.random.key(5)
        )
        np.testing.assert_array_equal(step.action, 1)


ALTERED = {
    "specs": MASKED,
    "optimizer": optax.adam(0.1),
    "gamma": 0.5,
    "n_step": 2,
    "double": True,
    "epsilon": 0.9,
    "target_update": agents.polyak(0.5),
}
OWN = {
    "c51": {"v_min": -3.0, "v_max": 1.5, "network": QNetwork(2, (16,), num_atoms=11)},
    "qr": {"huber_param": 0.1, "network": QNetwork(2, (16,), num_atoms=7)},
    "recurrent": {
        "td_loss": agents.losses.squared,
        "sequence_length": 2,
        "burn_in": 0,
        "stored_carry": False,
        "network": RecurrentQNetwork(2, core=GRU(4)),
    },
}


# What C51 and the recurrent one share with others is tried there every day.
@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[] if kind == "qr" else pytest.mark.nightly) for kind in OWN]
)
def test_every_field_of_the_configuration_changes_something(kind):
    make, altered = KINDS[kind], ALTERED | OWN[kind]
    assert set(altered) == {field.name for field in dataclasses.fields(make())}

    def outcome(agent):
        rows = random_rows(agent, jax.random.key(6))
        state = agent.init(jax.random.key(0))
        moved = jax.tree.map(
            lambda x: x + 0.3 * jax.random.normal(jax.random.key(x.size), x.shape), state.params
        )
        state = state.replace(target_params=moved)
        new, info = jax.jit(agent.train)(state, rows)
        observation = jax.tree.map(
            lambda x: jnp.tile(x[:, 0], (40, *[1] * (x.ndim - 2))), rows.observation
        )
        step = TimeStep(jnp.full(200, MID), jnp.zeros(200), jnp.ones(200), observation)
        carry = agent.collect_policy.initial_state((200,))
        action = agent.collect_policy.action(
            agent.policy_params(state), step, carry, jax.random.key(3)
        ).action
        return [
            np.ravel(x) for x in jax.tree.leaves((info.loss, new.params, new.target_params, action))
        ]

    agent = make()
    base = outcome(agent)
    for name, value in altered.items():
        changed = outcome(dataclasses.replace(agent, **{name: value}))
        same = len(base) == len(changed) and all(
            np.array_equal(a, b) for a, b in zip(base, changed, strict=True)
        )
        assert not same, f"{name} changes nothing"


@pytest.mark.parametrize("make", FLAT.values(), ids=FLAT)
def test_all_options_combine_and_each_of_them_changes_the_update(make):
    """All 32 combinations trace to an update of the right shapes, no two to the same program."""
    programs = set()
    options = itertools.product((False, True), (False, True), (None, 0.5), (1, 3), (False, True))
    for double, dueling, noisy, n_step, prioritised in options:
        agent = make(double=double, dueling=dueling, noisy=noisy, n_step=n_step)
        state = jax.eval_shape(agent.init, jax.random.key(0))
        rows = jax.tree.map(
            lambda s, n=n_step: jax.ShapeDtypeStruct((5, n + 1, *s.shape), s.dtype),
            agent.collect_data_spec,
        )
        weights = jax.ShapeDtypeStruct((5,), np.float32) if prioritised else None
        program, (after, info) = jax.make_jaxpr(agent.train, return_shape=True)(
            state, rows, weights
        )
        assert info.per_example["td_error"].shape == (5,) and info.loss.shape == ()
        assert str(jax.tree.map(lambda x: (x.shape, x.dtype), (after,))) == str(
            jax.tree.map(lambda x: (x.shape, x.dtype), (state,))
        )
        programs.add(str(program))
    assert len(programs) == 32


@pytest.mark.parametrize("make", FLAT.values(), ids=FLAT)
def test_noisy_agents_collect_with_noise_learn_with_noise_and_evaluate_without(make):
    agent = make(noisy=0.5, epsilon=0.0)
    state, n = agent.init(jax.random.key(0)), 300
    params = agent.policy_params(state)
    time_step = TimeStep(jnp.full(n, MID), jnp.zeros(n), jnp.ones(n), jnp.zeros((n, 1)))
    collect = jax.jit(lambda key: agent.collect_policy.action(params, time_step, (), key).action)
    assert len(np.unique(collect(jax.random.key(1)))) == 2  # each environment draws for itself
    assert (collect(jax.random.key(1)) != collect(jax.random.key(2))).any()
    np.testing.assert_array_equal(collect(jax.random.key(1)), collect(jax.random.key(1)))
    greedy = {
        int(agent.policy.action(params, time_step, (), jax.random.key(k)).action.sum())
        for k in range(3)
    }
    assert greedy <= {0, n} and len(greedy) == 1
    rows = random_rows(agent, jax.random.key(7))
    loss = jax.jit(lambda key: agent.loss(state.params, state, rows, key).loss)
    assert float(loss(jax.random.key(1))) != float(loss(jax.random.key(2)))
    _, grads = loss_and_grads(agent, rows)
    sigmas = [
        g for path, g in jax.tree_util.tree_flatten_with_path(grads)[0] if "sigma" in str(path[-1])
    ]
    assert sigmas and all(g.any() for g in sigmas)


def test_vmap_over_keys_equals_single_runs():
    agent = c51(noisy=0.5, double=True, n_step=2)
    rows = random_rows(agent, jax.random.key(8))
    run = lambda key: agent.train(agent.init(key), rows)[0].params
    keys = jax.random.split(jax.random.key(0), 3)
    together = jax.jit(jax.vmap(run))(keys)
    chex.assert_trees_all_close(
        jax.tree.map(lambda x: x[1], together), jax.jit(run)(keys[1]), atol=1e-5
    )


@pytest.mark.parametrize(
    ("match", "call"),
    [
        (
            "CategoricalDqnAgent: expected one discrete action",
            lambda: c51(EnvironmentSpecs(ArraySpec((1,)), ArraySpec((1,)))),
        ),
        ("QrDqnAgent: expected n_step >= 1, got 0", lambda: qr(n_step=0)),
        ("RecurrentDqnAgent: expected gamma in 0..1, got 2", lambda: recurrent(gamma=2)),
        ("v_min < v_max, got v_min=1.0 and v_max=1.0", lambda: c51(v_min=1.0, v_max=1.0)),
        ("huber_param >= 0, got -1", lambda: qr(huber_param=-1)),
        ("burn_in >= 0, got sequence_length=3 and burn_in=-1", lambda: recurrent(burn_in=-1)),
        ("sequence_length >= 1.*got sequence_length=0", lambda: recurrent(sequence_length=0)),
        (
            r"expected values \[2, 3, 2, 'K'\].*got \[2, 3, 2\]; QNetwork\(num_atoms=K\)",
            lambda: agents.QrDqnAgent(SPECS, QNetwork(2), optax.sgd(1)),
        ),
        (
            "networks.RecurrentQNetwork can",
            lambda: agents.RecurrentDqnAgent(SPECS, QNetwork(2), optax.sgd(1)),
        ),
        (
            r"expected values \[2, 3, 2\].*got \[2, 3, 4\]",
            lambda: agents.RecurrentDqnAgent(SPECS, RecurrentQNetwork(4), optax.sgd(1)),
        ),
        (
            r"T=5\], got \[5, 4\]",
            lambda: (a := recurrent()).train(
                a.init(jax.random.key(0)),
                jax.tree.map(lambda x: x[:, 1:], random_rows(a, jax.random.key(0))),
            ),
        ),
    ],
)
def test_clear_errors(match, call):
    with pytest.raises(ValueError, match=match):
        call()


def test_the_base_is_abstract():
    with pytest.raises(TypeError, match=r"abstract method '?example_loss"):
        ValueBasedAgent(SPECS, QNetwork(2), optax.sgd(0.1))
