"""Recurrent DQN: resets inside sequences, burn-in, carries, and a task that needs memory."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_agents import agents, envs
from jax_agents.envs.specs import ArraySpec, DiscreteSpec, EnvironmentSpecs
from jax_agents.envs.types import StepType, TimeStep
from jax_agents.evaluation import evaluate_on_device
from jax_agents.learners import OffPolicyScan
from jax_agents.networks import GRU, LSTM, QNetwork, RecurrentQNetwork

FIRST, MID, LAST = StepType.FIRST, StepType.MID, StepType.LAST
SPECS = EnvironmentSpecs(ArraySpec((2,)), DiscreteSpec(3))


def make_agent(**options):
    options = {"sequence_length": 4, "burn_in": 2, "n_step": 2} | options
    return agents.RecurrentDqnAgent(
        SPECS, RecurrentQNetwork(3, core=LSTM(5), hidden=(6,)), optax.sgd(0.1), **options
    )


def random_rows(agent, batch=3):
    rows = envs.sample(
        agent.collect_data_spec, jax.random.key(2), (batch, agent.train_sequence_length)
    )
    middle = jnp.full_like(rows.step_type, MID)
    return rows._replace(step_type=middle, next_step_type=middle)


def loss_of(agent, rows):
    state = agent.init(jax.random.key(0))
    return jax.jit(lambda rows: agent.loss(state.params, state, rows, jax.random.key(1)).loss)(rows)


@pytest.mark.parametrize("double", [False, True])
def test_the_loss_is_that_of_n_step_q_learning_on_the_unrolled_values(double):
    """Checked by loops over rows in NumPy, with an episode's end and a boundary row inside."""
    agent = make_agent(double=double, td_loss=agents.losses.squared, gamma=0.9)
    rows = random_rows(agent, batch=2)
    types = np.full((2, 8), MID)
    types[0, 4], types[0, 5] = LAST, FIRST
    rows = rows._replace(step_type=jnp.array(types), discount=jnp.ones((2, 8)).at[1, 4].set(0.0))
    state = agent.init(jax.random.key(0))
    state = state.replace(target_params=jax.tree.map(lambda x: x * 1.5, state.params))
    start = jax.tree.map(lambda x: x[:, 0], rows.policy_info["carry"])
    unroll = lambda variables: np.asarray(
        agent.network.apply(variables, rows.observation, types == FIRST, start)[0]
    )
    q, target = unroll(state.params["q"]), unroll(state.target_params["q"])
    errors = np.zeros((2, 4))
    for b in range(2):
        for i, t in enumerate(range(2, 6)):
            if types[b, t] == LAST:
                continue
            total, discount, k = 0.0, 1.0, t
            while k < t + 2 and types[b, k] != LAST:
                total += discount * float(rows.reward[b, k])
                discount *= 0.9 * float(rows.discount[b, k])
                k += 1
            best = np.argmax(q[b, k] if double else target[b, k])
            errors[b, i] = total + discount * target[b, k, best] - q[b, t, int(rows.action[b, t])]
    info = jax.jit(agent.loss)(state.params, state, rows, jax.random.key(1))
    np.testing.assert_allclose(info.loss, np.square(errors).mean(), rtol=1e-4)
    size = np.abs(errors)
    np.testing.assert_allclose(
        info.per_example["td_error"], 0.9 * size.max(1) + 0.1 * size.mean(1), rtol=1e-4
    )


def test_nothing_crosses_the_start_of_an_episode():
    """What precedes a FIRST row neither changes later values nor gets a gradient from them."""
    agent = make_agent(burn_in=0, n_step=1)
    rows = random_rows(agent)
    types = rows.step_type.at[:, 1].set(LAST).at[:, 2].set(FIRST)
    rows = rows._replace(step_type=types)
    state = agent.init(jax.random.key(0))

    def loss_of_the_second_episode(observation, carry):
        moved = rows._replace(observation=observation, policy_info={"carry": carry})
        # so the first row's own loss does not count
        moved = moved._replace(step_type=types.at[:, 0].set(LAST))
        return agent.loss(state.params, state, moved, jax.random.key(1)).loss

    grads, carry_grads = jax.jit(jax.grad(loss_of_the_second_episode, argnums=(0, 1)))(
        rows.observation, rows.policy_info["carry"]
    )
    assert not grads[:, :2].any() and grads[:, 2:5].any()
    assert not any(g.any() for g in jax.tree.leaves(carry_grads))


def test_burn_in_changes_the_carry_and_gets_no_gradient():
    agent = make_agent(burn_in=3)
    rows = random_rows(agent)
    state = agent.init(jax.random.key(0))

    def loss(observation):
        return agent.loss(
            state.params, state, rows._replace(observation=observation), jax.random.key(1)
        ).loss

    value, grads = jax.jit(jax.value_and_grad(loss))(rows.observation)
    assert not grads[:, :3].any() and grads[:, 3:7].any()
    assert float(loss(rows.observation.at[:, 0].add(1.0))) != float(value)
    # rows of the burn-in are not learned from
    rewards = rows._replace(reward=rows.reward.at[:, :3].add(100.0))
    np.testing.assert_allclose(loss_of(agent, rewards), value, rtol=1e-6)


def test_sequences_start_with_the_stored_carry_or_with_zeros():
    stored, zero = make_agent(), make_agent(stored_carry=False)
    rows = random_rows(stored)
    other = rows._replace(policy_info=jax.tree.map(lambda x: x + 1.0, rows.policy_info))
    zeros = rows._replace(policy_info=jax.tree.map(jnp.zeros_like, rows.policy_info))
    assert float(loss_of(stored, rows)) != float(loss_of(stored, other))
    np.testing.assert_allclose(
        loss_of(stored, zeros), loss_of(zero, rows._replace(policy_info=())), rtol=1e-6
    )
    begin = lambda r: r._replace(step_type=r.step_type.at[:, 0].set(FIRST))
    np.testing.assert_allclose(
        loss_of(stored, begin(rows)), loss_of(stored, begin(other)), rtol=1e-6
    )
    assert zero.collect_data_spec.policy_info == ()


def test_acting_remembers_and_stores_what_it_started_with():
    agent = make_agent()
    params = agent.policy_params(agent.init(jax.random.key(0)))
    policy, state = agent.collect_policy, agent.collect_policy.initial_state((4,))
    for step_type in (FIRST, MID, LAST, FIRST):
        time_step = TimeStep(jnp.full(4, step_type), jnp.zeros(4), jnp.ones(4), jnp.ones((4, 2)))
        step = policy.action(params, time_step, state, jax.random.key(1))
        chex.assert_trees_all_equal(step.info["carry"], state)
        state = step.state
    first = policy.action(params, time_step, policy.initial_state((4,)), jax.random.key(1))
    chex.assert_trees_all_equal(first.state, state)  # the second episode begins as the first did
    assert agent.policy.action(params, time_step, state).info == ()
    np.testing.assert_allclose(
        agent.q_values(params, jnp.ones((4, 2))),
        agent.network.apply(
            params["params"]["q"], jnp.ones((4, 1, 2)), jnp.ones((4, 1), bool), state
        )[0][:, 0],
        rtol=1e-6,
    )


@pytest.mark.learning
def test_memory_is_learned_where_it_is_needed_and_only_with_memory():
    env = envs.probes.Recall()
    options = {"gamma": 1.0, "epsilon": 0.3, "target_update": agents.periodic(20)}
    network = RecurrentQNetwork(2, core=GRU(8), hidden=(8,))
    remembers = agents.RecurrentDqnAgent(
        env.specs, network, optax.adam(1e-2), sequence_length=4, burn_in=1, **options
    )
    forgets = agents.DqnAgent(env.specs, QNetwork(2, (16,)), optax.adam(1e-2), **options)
    scores = {}
    for agent in (remembers, forgets):
        loop = OffPolicyScan(
            agent,
            env,
            num_envs=16,
            batch_size=32,
            capacity=3_200,
            warmup_rows=20,
            warmup_policy=agent.collect_policy,
        )
        run = jax.jit(lambda key, loop=loop: loop.run(loop.init(key), 500)[0].train)
        params = agent.policy_params(run(jax.random.key(0)))
        returns = jax.jit(evaluate_on_device, static_argnums=(0, 1, 4))(
            env, agent.policy, params, jax.random.key(5), 100
        )
        scores[type(agent).__name__] = float(returns.mean())
    assert scores["RecurrentDqnAgent"] == 1.0
    assert abs(scores["DqnAgent"]) < 0.4


class Doubled(agents.RecurrentDqnAgent):
    """An agent whose network's outputs are half the values."""

    def values(self, outputs):
        return 2.0 * outputs


def test_a_subclass_says_what_outputs_mean_wherever_they_are_used():
    plain = make_agent(epsilon=0.0)
    doubled = Doubled(
        SPECS, plain.network, plain.optimizer, sequence_length=4, burn_in=2, n_step=2, epsilon=0.0
    )
    params = plain.policy_params(plain.init(jax.random.key(0)))
    observation = jnp.array([0.3, -0.7])
    values = doubled.q_values(params, observation)
    np.testing.assert_allclose(values, 2.0 * plain.q_values(params, observation))
    time_step = TimeStep(jnp.int32(FIRST), jnp.zeros(()), jnp.ones(()), observation)
    for policy in (doubled.q_policy, doubled.collect_policy.policy):
        step = policy.distribution(params, time_step, policy.initial_state())
        np.testing.assert_allclose(
            jax.nn.log_softmax(step.action.logits), jax.nn.log_softmax(values), rtol=1e-5
        )


def test_the_selector_of_a_double_target_is_in_values():
    """With double, the greedy action of negated outputs is another one, and so is the loss."""

    class Negated(agents.RecurrentDqnAgent):
        def values(self, outputs):
            return -outputs

    options = {"sequence_length": 4, "burn_in": 2, "n_step": 2}
    plain = make_agent()
    rows = random_rows(plain)
    negated = Negated(SPECS, plain.network, plain.optimizer, **options)
    assert loss_of(negated, rows) != loss_of(plain, rows)
