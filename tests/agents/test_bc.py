"""Behavioural cloning: its loss by hand, what it learns, and data that is refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_agents import agents, envs
from jax_agents.agents.bc import check_dataset
from jax_agents.envs.specs import ArraySpec, BoundedSpec, DiscreteSpec, EnvironmentSpecs, SpecError
from jax_agents.envs.types import StepType
from jax_agents.networks import QNetwork
from jax_agents.networks.actor import ActorNetwork
from jax_agents.networks.continuous import DeterministicActor, TanhNormalActor

MID, LAST = StepType.MID, StepType.LAST
DISCRETE = EnvironmentSpecs(ArraySpec((2,)), DiscreteSpec(3))
CONTINUOUS = EnvironmentSpecs(ArraySpec((2,)), BoundedSpec((1,), np.float32, -2.0, 2.0))
MASKED = EnvironmentSpecs(
    {"observation": ArraySpec((2,)), "action_mask": ArraySpec((3,), np.bool_)}, DiscreteSpec(3)
)


def make_agent(specs, actor=None, learning_rate=0.01):
    actor = ActorNetwork(specs.action, (32,)) if actor is None else actor
    return agents.BehavioralCloningAgent(specs, actor, optax.adam(learning_rate))


def random_rows(specs, batch=64, length=2):
    rows = envs.sample(envs.trajectory_spec(specs), jax.random.key(0), (batch, length))
    middle = jnp.full_like(rows.step_type, MID)
    return rows._replace(step_type=middle, next_step_type=middle)


def test_the_loss_is_the_mean_negative_log_likelihood_over_rows():
    agent, rows = make_agent(DISCRETE), random_rows(DISCRETE, batch=3)
    state = agent.init(jax.random.key(0))
    params = jax.tree.map(jnp.zeros_like, state.params)  # logits 0: each action has probability 1/3
    weights = np.array([1.0, 0.5, 2.0], np.float32)
    types = jnp.array([[MID, MID], [MID, LAST], [LAST, LAST]])
    info = agent.loss(params, state, rows._replace(step_type=types), jax.random.key(1), weights)
    np.testing.assert_allclose(
        info.per_example["nll"], np.log(3) * np.array([1, 0.5, 0]), rtol=1e-6
    )
    np.testing.assert_allclose(info.loss, np.log(3) * (1 + 0.25) / 3, rtol=1e-6)


def test_the_continuous_loss_is_a_normals():
    """Mean 0 and standard deviation 2 (half the range) where all parameters are 0: 0.5 (a / 2)^2 +
    ln 2 + 0.5 ln 2 pi.
    """
    agent, rows = make_agent(CONTINUOUS), random_rows(CONTINUOUS)
    state = agent.init(jax.random.key(0))
    info = agent.loss(jax.tree.map(jnp.zeros_like, state.params), state, rows, jax.random.key(1))
    expected = np.mean(np.square(rows.action / 2) / 2) + np.log(2) + 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(info.loss, expected, rtol=1e-5)


def test_every_field_of_the_configuration_changes_something():
    base = make_agent(DISCRETE)
    altered = {
        "specs": MASKED,
        "network": ActorNetwork(DISCRETE.action, (16,)),
        "optimizer": optax.adam(0.1),
    }
    assert set(altered) == {field.name for field in dataclasses.fields(base)}

    def outcome(agent):
        rows = random_rows(agent.specs, batch=4)
        new, info = agent.train(agent.init(jax.random.key(0)), rows)
        return [np.ravel(x) for x in jax.tree.leaves((info.loss, new.params))]

    before = outcome(base)
    for name, value in altered.items():
        after = outcome(dataclasses.replace(base, **{name: value}))
        same = len(before) == len(after) and all(
            np.array_equal(a, b) for a, b in zip(before, after, strict=True)
        )
        assert not same, f"{name} changes nothing"


def test_boundary_rows_have_exactly_no_gradient():
    agent, rows = make_agent(DISCRETE), random_rows(DISCRETE)
    state = agent.init(jax.random.key(0))
    gradient = jax.grad(lambda p, rows: agent.loss(p, state, rows, jax.random.key(1)).loss)
    boundary = gradient(state.params, rows._replace(step_type=jnp.full_like(rows.step_type, LAST)))
    assert not any(x.any() for x in jax.tree.leaves(boundary))
    assert any(x.any() for x in jax.tree.leaves(gradient(state.params, rows)))


def learn(agent, rows, steps=300):
    @jax.jit
    def run(state):
        return jax.lax.scan(lambda s, _: (agent.train(s, rows)[0], None), state, length=steps)[0]

    return run(agent.init(jax.random.key(0)))


def greedy(agent, state, rows):
    time_step = envs.TimeStep(rows.step_type, rows.reward, rows.discount, rows.observation)
    return agent.policy.action(agent.policy_params(state), time_step, (), jax.random.key(2)).action


def test_a_discrete_expert_is_copied():
    agent, rows = make_agent(DISCRETE), random_rows(DISCRETE)
    expert = jnp.argmax(
        rows.observation @ jnp.array([[1.0, -1.0, 0.3], [0.2, 0.5, -1.0]]), axis=-1
    ).astype(jnp.int32)
    rows = rows._replace(action=expert)
    np.testing.assert_array_less(0.97, np.mean(greedy(agent, learn(agent, rows), rows) == expert))


@pytest.mark.parametrize("actor", [ActorNetwork, TanhNormalActor])
def test_a_continuous_expert_is_copied(actor):
    agent, rows = make_agent(CONTINUOUS, actor(CONTINUOUS.action, (32,))), random_rows(CONTINUOUS)
    expert = 1.5 * jnp.tanh(rows.observation @ jnp.array([[1.0], [-0.5]]))
    rows = rows._replace(action=expert)
    # The likelihood of a copy that is nearly exact is steep, so the steps have to become small.
    agent = dataclasses.replace(agent, optimizer=optax.adam(optax.linear_schedule(1e-2, 0.0, 1000)))
    assert np.abs(greedy(agent, learn(agent, rows, 1000), rows) - expert).mean() < 0.05


def test_masked_actions_are_never_taken():
    agent, rows = make_agent(MASKED), random_rows(MASKED)
    allowed = jnp.broadcast_to(jnp.array([True, False, True]), (64, 2, 3))
    rows = rows._replace(
        observation=rows.observation | {"action_mask": allowed}, action=rows.action // 2 * 2
    )
    actions = greedy(agent, learn(agent, rows, 5), rows)
    assert set(np.unique(actions)) <= {0, 2}


def test_what_the_expert_stored_with_its_rows_is_not_looked_at():
    agent, rows = make_agent(DISCRETE), random_rows(DISCRETE)
    state = agent.init(jax.random.key(0))
    _, info = agent.train(state, rows._replace(policy_info={"log_prob": rows.reward}))
    np.testing.assert_allclose(info.loss, agent.train(state, rows)[1].loss)


def test_good_data_passes_and_bad_data_is_refused_with_its_numbers():
    rows = random_rows(CONTINUOUS)
    check_dataset(rows, CONTINUOUS)
    check_dataset(jax.tree.map(lambda x: x[0, 0], rows), CONTINUOUS)
    with pytest.raises(SpecError, match=r"observation: 1 of 256 numbers are NaN"):
        check_dataset(
            rows._replace(observation=rows.observation.at[3, 1, 0].set(jnp.nan)), CONTINUOUS
        )
    with pytest.raises(SpecError, match=r"action: 1 of 128 numbers lie outside .*\[2.5\]"):
        check_dataset(rows._replace(action=rows.action.at[3, 1, 0].set(2.5)), CONTINUOUS)
    rows = random_rows(DISCRETE)
    with pytest.raises(SpecError, match=r"action: 2 of 128 numbers lie outside 0..2: \[3, 3\]"):
        check_dataset(rows._replace(action=rows.action.at[3].set(3)), DISCRETE)


def test_forbidden_actions_are_refused_but_on_boundary_rows():
    rows = random_rows(MASKED)
    mask = jnp.ones((64, 2, 3), bool).at[7, 1].set(False)
    rows = rows._replace(
        observation=rows.observation | {"action_mask": mask}, action=rows.action.at[7, 1].set(2)
    )
    with pytest.raises(SpecError, match=r"1 of 128 are forbidden by their action masks: \[2\]"):
        check_dataset(rows, MASKED)
    check_dataset(rows._replace(step_type=rows.step_type.at[7, 1].set(LAST)), MASKED)


def test_forbidden_actions_of_several_factors():
    specs = EnvironmentSpecs(
        {"observation": ArraySpec((1,)), "action_mask": ArraySpec((5,), np.bool_)},
        DiscreteSpec((2, 3)),
    )
    rows = random_rows(specs, batch=1, length=1)
    mask = jnp.array([[[True, True, True, False, True]]])
    rows = rows._replace(observation=rows.observation | {"action_mask": mask})
    check_dataset(rows._replace(action=jnp.array([[[1, 2]]], jnp.int32)), specs)
    with pytest.raises(SpecError, match=r"1 of 1 are forbidden.*\[\[1, 1\]\]"):
        check_dataset(rows._replace(action=jnp.array([[[1, 1]]], jnp.int32)), specs)


def test_networks_that_give_no_density_are_refused():
    with pytest.raises(ValueError, match="ActorNetwork"):
        make_agent(DISCRETE, QNetwork(3))
    with pytest.raises(ValueError, match="Deterministic"):
        make_agent(CONTINUOUS, DeterministicActor(CONTINUOUS.action))
    with pytest.raises(ValueError, match="ActorNetwork"):
        make_agent(CONTINUOUS, ActorNetwork(DISCRETE.action))
