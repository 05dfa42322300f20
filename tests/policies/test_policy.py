"""The compiled call that asks any policy for an action."""

import dataclasses

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_agents import agents, envs, networks
from jax_agents.envs import classic
from jax_agents.envs.specs import DiscreteSpec
from jax_agents.envs.types import PolicyStep, StepType, TimeStep
from jax_agents.policies import RandomPolicy, act
from jax_agents.policies.policy import check_acting

STEP = TimeStep(jnp.full(64, StepType.MID), jnp.zeros(64), jnp.ones(64), jnp.zeros((64, 1)))


def test_the_key_of_a_row_is_folded_from_its_number():
    policy, key = RandomPolicy(DiscreteSpec(100)), jax.random.key(7)
    rows = [np.asarray(act(policy, (), STEP, (), key, np.int32(row)).action) for row in (0, 1, 0)]
    np.testing.assert_array_equal(rows[0], rows[2])
    assert (rows[0] != rows[1]).any()
    np.testing.assert_array_equal(
        rows[1], policy.action((), STEP, (), jax.random.fold_in(key, 1)).action
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Counting:
    """Counts how often it is traced."""

    traces: list

    def initial_state(self, batch_shape=()):
        return jnp.zeros(batch_shape, jnp.int32)

    def action(self, params, time_step, state=(), key=None):
        self.traces.append(1)
        return PolicyStep(state * params, state + 1, {"seen": state})


def test_it_compiles_once_for_each_policy_object_and_batch_shape():
    policies = Counting([]), Counting([])
    for policy in policies:
        state = policy.initial_state((64,))
        for row in range(5):
            step = act(policy, jnp.int32(2), STEP, state, jax.random.key(0), np.int32(row))
            state = step.state
        np.testing.assert_array_equal(step.action, 8)
        np.testing.assert_array_equal(step.info["seen"], 4)
        assert len(policy.traces) == 1
    act(
        policies[0],
        jnp.int32(2),
        STEP,
        policies[0].initial_state((2,)),
        jax.random.key(0),
        np.int32(0),
    )
    assert len(policies[0].traces) == 2


def test_what_is_no_environment_or_no_policy_is_told_what_makes_one(agent_and_env):
    agent, env = agent_and_env
    check_acting(env, agent.policy)
    with pytest.raises(TypeError, match=r"got TimeLimit; envs.gym.from_gym makes one"):
        check_acting(gymnasium.make("CartPole-v1"), agent.policy)
    with pytest.raises(TypeError, match=r"got CartPole; .*envs.HostEnvironment of one in JAX"):
        check_acting(classic.CartPole(), agent.policy)
    with pytest.raises(TypeError, match=r"got DqnAgent; pass agent.policy or agent.collect_policy"):
        check_acting(env, agent)
    with pytest.raises(TypeError, match=r"such as agent.policy, got function$"):
        check_acting(env, lambda observation: 0)


@pytest.fixture
def agent_and_env():
    env = envs.gym.make("CartPole-v1")
    yield agents.DqnAgent(env.specs, networks.QNetwork(2), optax.sgd(0.1)), env
    env.close()
