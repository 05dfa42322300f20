"""What holds of every on-policy agent."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_agents.agents import A2cAgent, ImpalaAgent, PpoAgent, ReinforceAgent
from jax_agents.envs.specs import (
    BoundedSpec,
    DiscreteSpec,
    EnvironmentSpecs,
    SpecError,
    sample,
    validate,
)
from jax_agents.envs.types import TimeStep
from jax_agents.networks import (
    ActorNetwork,
    ActorValueNetwork,
    QNetwork,
    TanhNormalActor,
    ValueNetwork,
)

OBSERVATION = BoundedSpec((3,), np.float32, -1, 1)
DISCRETE = EnvironmentSpecs(OBSERVATION, DiscreteSpec(3))
CONTINUOUS = EnvironmentSpecs(OBSERVATION, BoundedSpec((2,), np.float32, -1, 1))
FACTORS = EnvironmentSpecs(OBSERVATION, DiscreteSpec((2, 3)))
KINDS = (PpoAgent, A2cAgent, ReinforceAgent, ImpalaAgent)
B, T = 4, 6


def build(kind, specs=DISCRETE, **options):
    actor = ActorNetwork(
        specs.action, hidden=(8,), output_kernel_init=jax.nn.initializers.orthogonal(1.0)
    )
    return kind(
        specs, ActorValueNetwork(actor, ValueNetwork(hidden=(8,))), optax.sgd(0.1), **options
    )


def rows(agent, seed=0):
    """Rows `[B, T + 1]`: after row 2 an episode is cut off in stream 0 and terminates in stream 1;
    row 3 is the boundary.
    """
    random = sample(agent.collect_data_spec, jax.random.key(seed), (B, T + 1))
    step_type = np.ones((B, T + 1), np.int32)
    step_type[:2, 3], step_type[:2, 4] = 2, 0
    next_step_type = np.ones((B, T + 1), np.int32)
    next_step_type[:, :-1] = step_type[:, 1:]
    discount = np.ones((B, T + 1), np.float32)
    discount[1, 2] = 0.0
    log_prob = {"log_prob": -1 - 0.1 * random.policy_info["log_prob"] ** 2}
    info = {**random.policy_info, **log_prob}
    return random._replace(
        step_type=step_type, next_step_type=next_step_type, discount=discount, policy_info=info
    )


def update(agent, state, experience, shards=None):
    state, batch = agent.prepare(state, experience, shards=shards)
    return agent.train(state, batch, shards=shards)


def close(a, b, rtol=1e-5, atol=1e-6):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=atol)


@pytest.mark.parametrize(
    ("kind", "specs"),
    [
        (PpoAgent, FACTORS),
        (PpoAgent, CONTINUOUS),
        (A2cAgent, CONTINUOUS),
        (ReinforceAgent, DISCRETE),
        (ImpalaAgent, FACTORS),
    ],
    ids=["ppo-factors", "ppo-continuous", "a2c-continuous", "reinforce-discrete", "impala-factors"],
)
def test_an_update_under_jit_with_every_kind_of_action(kind, specs):
    agent = build(
        kind, specs, normalize_observations=True, normalize_rewards=True, entropy_coefficient=0.01
    )
    state = agent.init(jax.random.key(0))
    new, info = jax.jit(update, static_argnums=0)(agent, state, rows(agent))
    assert new.step == 1 and np.isfinite(info.loss)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(new.params))
    assert all(
        (a != b).any()
        for a, b in zip(jax.tree.leaves(new.params), jax.tree.leaves(state.params), strict=True)
    )
    time_step = TimeStep(
        jnp.ones((2, 5), jnp.int32), jnp.zeros((2, 5)), jnp.ones((2, 5)), jnp.zeros((2, 5, 3))
    )
    policy, params = agent.collect_policy, agent.policy_params(new)
    result = policy.action(params, time_step, policy.initial_state((2, 5)), jax.random.key(1))
    validate(result.action, specs.action, batch_ndim=2, values=True)
    validate(result.info, policy.info_spec, batch_ndim=2)
    assert agent.value(params, time_step.observation).shape == (2, 5)


@pytest.mark.parametrize("kind", KINDS)
def test_squashed_policies_start_with_ratio_1_and_gain_entropy_by_its_bonus(kind):
    """On rows of the agent's own policy; the two coefficients, 0 and 1, under one vmap."""
    network = ActorValueNetwork(TanhNormalActor(CONTINUOUS.action, (8,)), ValueNetwork(hidden=(8,)))

    @jax.jit
    @jax.vmap
    def outcome(coefficient):
        agent = kind(CONTINUOUS, network, optax.sgd(0.1), entropy_coefficient=coefficient)
        state, experience = agent.init(jax.random.key(0)), rows(agent)
        time_step = TimeStep(
            experience.step_type, experience.reward, experience.discount, experience.observation
        )
        step = agent.collect_policy.action(
            agent.policy_params(state), time_step, (), jax.random.key(1)
        )
        experience = experience._replace(action=step.action, policy_info=step.info)
        state, batch = agent.prepare(state, experience)
        after, info = agent.train(state, batch)
        return info.metrics, agent.loss(after.params, after, batch, jax.random.key(2)).metrics[
            "entropy"
        ]

    metrics, entropy = outcome(jnp.array([0.0, 1.0]))
    assert entropy[1] > entropy[0] + 1e-3
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(metrics))
    if kind is PpoAgent:
        np.testing.assert_allclose(metrics["kl"], 0.0, atol=1e-6)
        np.testing.assert_array_equal(metrics["clip_fraction"], 0.0)
    if kind is ImpalaAgent:
        np.testing.assert_allclose(metrics["ratio"], 1.0, rtol=1e-5)  # boundary rows left out


@pytest.mark.parametrize("kind", KINDS)
def test_boundary_rows_have_no_gradient(kind):
    agent = build(kind)
    state, clean = agent.init(jax.random.key(0)), rows(agent)
    spoilt = jax.tree.map(np.array, clean)
    spoilt.action[:2, 3] = (spoilt.action[:2, 3] + 1) % 3
    spoilt.reward[:2, 3], spoilt.discount[:2, 3], spoilt.policy_info["log_prob"][:2, 3] = (
        1e3,
        0.3,
        -7.0,
    )
    spoilt.action[:, T], spoilt.reward[:, T] = 0, -1e3  # of row T only the observation counts
    close(update(agent, state, clean)[0].params, update(agent, state, spoilt)[0].params)
    spoilt.reward[2, 3] = 9.0
    with pytest.raises(AssertionError):
        close(update(agent, state, clean)[0].params, update(agent, state, spoilt)[0].params)


@pytest.mark.parametrize("kind", [PpoAgent, A2cAgent, ReinforceAgent])
def test_targets_bootstrap_from_the_final_observation_and_from_row_t(kind):
    agent = build(kind, gamma=0.9)
    state, experience = agent.init(jax.random.key(0)), rows(agent)
    values = agent.value(agent.policy_params(state), experience.observation)
    target = agent.prepare(state, experience)[1].target.reshape(B, T)
    # cut off
    np.testing.assert_allclose(
        target[0, 2], experience.reward[0, 2] + 0.9 * values[0, 3], rtol=1e-5
    )
    np.testing.assert_allclose(target[1, 2], experience.reward[1, 2], rtol=1e-5)  # terminated
    np.testing.assert_allclose(
        target[:, T - 1], experience.reward[:, T - 1] + 0.9 * values[:, T], rtol=1e-5
    )


def test_estimates_are_those_of_tf_agents():
    """Numeric case 4.7: lambda 0.95, values 3 everywhere, an episode that ends at step 5."""

    class Constant:
        def init(self, key, observation):
            return {}

        def apply(self, variables, observation):
            network = ActorNetwork(DiscreteSpec(3), hidden=())
            return network.init_with_output(jax.random.key(0), observation)[0], jnp.full(
                observation.shape[:-1], 3.0
            )

    agent = PpoAgent(DISCRETE, Constant(), optax.sgd(1.0), gamma=1.0)
    experience = sample(agent.collect_data_spec, jax.random.key(0), (1, 10))
    discount = np.array([[1, 1, 1, 1, 0, 0.9, 0.9, 0.9, 0, 0]], np.float32)
    middle = np.ones((1, 10), np.int32)
    experience = experience._replace(
        step_type=middle, next_step_type=middle, reward=np.ones((1, 10)), discount=discount
    )
    examples = agent.gae_examples({"actor_value": {}}, experience, 0.95)
    expected = [2.0808625, 1.13775, 0.145, -0.9, -2.0, 0.56016475, -0.16355, -1.01, -2.0]
    np.testing.assert_allclose(examples.advantage, expected, rtol=1e-5)
    np.testing.assert_allclose(examples.target, np.add(expected, 3.0), rtol=1e-5)


def test_normalisers_count_each_row_once_and_hold_for_their_own_batch():
    agent = build(PpoAgent, normalize_observations=True, normalize_rewards=True)
    state, experience = agent.init(jax.random.key(0)), rows(agent)
    state, batch = agent.prepare(state, experience)
    observation = experience.observation[:, :-1]
    np.testing.assert_allclose(batch.observation.mean(0), 0.0, atol=1e-5)
    np.testing.assert_allclose(
        state.extra["observation_statistics"].variance, observation.var((0, 1)), rtol=1e-4
    )
    seen = experience.policy_info["discounted_return"][:, :-1][experience.step_type[:, :-1] != 0]
    assert state.extra["return_statistics"].count == seen.size == B * T - 2
    _, normal = agent.normalized(agent.init(jax.random.key(0)), experience)
    np.testing.assert_allclose(normal.reward, experience.reward / seen.std(), rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_another_shape_are_refused(kind):
    agent = build(kind)
    state, batch = agent.prepare(agent.init(jax.random.key(0)), rows(agent))
    number = len(batch.action)
    with pytest.raises(ValueError, match=rf"weights: expected one for each example, .*{number}"):
        agent.train(state, batch, jnp.ones((number, 1)))


@pytest.mark.parametrize("kind", KINDS)
def test_two_devices_equal_one(kind):
    agent = build(kind, normalize_observations=True, normalize_rewards=True)
    state, experience = agent.init(jax.random.key(0)), rows(agent)
    one, info = update(agent, state, experience)
    halves = jax.tree.map(lambda x: x.reshape(2, B // 2, *x.shape[1:]), experience)
    step = lambda part: update(agent, state, part, shards="d")
    two, parts = jax.vmap(step, axis_name="d")(halves)
    close(jax.tree.map(lambda x: x[0], two.params), one.params, rtol=1e-4)
    close(jax.tree.map(lambda x: x[1], two.extra), one.extra, rtol=1e-4)
    np.testing.assert_allclose(parts.loss, info.loss, rtol=1e-4)


SHARED = {
    "gamma": 0.5,
    "entropy_coefficient": 0.5,
    "normalize_observations": True,
    "normalize_rewards": True,
    "value_coefficient": 0.1,
}


CHANGES = [
    *((kind, field, value) for kind in KINDS for field, value in SHARED.items()),
    *((kind, "lambda_", 0.3) for kind in (PpoAgent, A2cAgent, ImpalaAgent)),
    (PpoAgent, "clip_ratio", 0.01),
    (PpoAgent, "clip_ratio", None),
    (PpoAgent, "value_clip", 1e-3),
    (PpoAgent, "kl_target", 0.1),
    (PpoAgent, "advantages", "none"),
    (PpoAgent, "advantages", "batch"),
    (ReinforceAgent, "normalize_returns", False),
    (ImpalaAgent, "clip_rho", 0.1),
    (ImpalaAgent, "clip_c", 0.1),
    (ImpalaAgent, "clip_ratio", 0.1),
    (ImpalaAgent, "clip_ratio", 10.0),
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_has_a_case(kind):
    tested = {field for other, field, _ in CHANGES if other is kind}
    tested |= {"specs", "network", "optimizer"}
    if kind is PpoAgent:
        tested.add("initial_kl_beta")  # test_ppo.py
    assert tested == {field.name for field in dataclasses.fields(kind)}


@pytest.mark.parametrize(("kind", "field", "value"), CHANGES)
def test_every_field_changes_something(kind, field, value):
    with pytest.raises(AssertionError):
        close(two_updates(kind), two_updates(kind, field, value), rtol=1e-6, atol=1e-7)


@functools.cache
def two_updates(kind, *change):
    """Parameters after an update on each half of a batch: so clips have something to hold, and
    parts differ from the whole.
    """
    agent = build(kind, **dict([change] if change else []))
    state, batch = agent.prepare(agent.init(jax.random.key(0)), rows(agent))
    for half in range(2):
        state, _ = agent.train(
            state, jax.tree.map(lambda x, half=half: jnp.split(x, 2)[half], batch)
        )
    return state.params


def test_errors():
    with pytest.raises(
        ValueError, match=r"PpoAgent: expected a network that gives a distribution.*\[2, 3\]"
    ):
        PpoAgent(DISCRETE, ActorNetwork(DISCRETE.action), optax.sgd(1.0))
    with pytest.raises(ValueError, match="A2cAgent: network cannot take observations"):
        A2cAgent(DISCRETE, QNetwork(3), optax.sgd(1.0))
    with pytest.raises(ValueError, match=r"actions \[2, 3, 2\]"):
        A2cAgent(
            DISCRETE,
            ActorValueNetwork(ActorNetwork(CONTINUOUS.action), ValueNetwork()),
            optax.sgd(1.0),
        )
    agent = build(PpoAgent)
    with pytest.raises(SpecError, match="reward"):
        agent.prepare(
            agent.init(jax.random.key(0)),
            rows(agent)._replace(reward=np.zeros((B, T + 1, 1), np.float32)),
        )
    for kind in (PpoAgent, A2cAgent, ReinforceAgent):
        unprepared = build(kind)
        with pytest.raises(
            TypeError,
            match=r"got Trajectory; call state, examples = agent.prepare\(state, rows\) first",
        ):
            unprepared.train(unprepared.init(jax.random.key(0)), rows(unprepared))
    with pytest.raises(ValueError, match="advantages 'minibatch'"):
        build(PpoAgent, advantages="maybe")
