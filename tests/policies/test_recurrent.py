"""Policies with memory: what they carry from step to step, and what they store."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_agents.envs.specs import ArraySpec, BoundedSpec, DiscreteSpec, validate
from jax_agents.envs.types import StepType, TimeStep
from jax_agents.networks import (
    GRU,
    ActorNetwork,
    RecurrentActorValueNetwork,
    ValueNetwork,
    init_statistics,
)
from jax_agents.networks.recurrent import init
from jax_agents.policies import ActorPolicy, GreedyPolicy, ReturnTrackingPolicy

FIRST, MID, LAST = StepType.FIRST, StepType.MID, StepType.LAST
KEY = jax.random.key(1)


def build(spec, **options):
    actor = ActorNetwork(spec, hidden=(), output_kernel_init=jax.nn.initializers.orthogonal(1.0))
    network = RecurrentActorValueNetwork(actor, ValueNetwork(hidden=()), core=GRU(3))
    variables = init(network, jax.random.key(0), ArraySpec((2,)))
    return ActorPolicy(network, spec, **options), {"params": {"actor": variables}}


def time_step(step_type, scale=1.0):
    return TimeStep(
        jnp.full(4, step_type),
        jnp.zeros(4),
        jnp.ones(4),
        scale * jnp.arange(1.0, 9.0).reshape(4, 2),
    )


@pytest.mark.parametrize(
    "spec",
    [DiscreteSpec(3), BoundedSpec((2,), np.float32, -0.1, 0.1)],
    ids=["discrete", "continuous"],
)
def test_it_remembers_forgets_at_first_and_stores_what_it_started_with(spec):
    policy, params = build(spec, info=True)
    state = policy.initial_state((4,))
    for step_type in (FIRST, MID, LAST, FIRST):
        step = policy.action(params, time_step(step_type), state, KEY)
        chex.assert_trees_all_equal(step.info["carry"], state)
        validate(step.info, policy.info_spec, batch_ndim=1)
        validate(step.action, spec, batch_ndim=1, values=True)
        assert (step.state != state).all()
        state = step.state
    first = policy.action(params, time_step(FIRST), policy.initial_state((4,)), KEY)
    np.testing.assert_array_equal(first.state, state)  # the second episode begins as the first did
    density = lambda state: policy.distribution(params, time_step(MID), state).action.log_prob(
        step.action
    )
    assert (density(state) != density(policy.initial_state((4,)))).all()


def test_greedy_and_return_tracking_policies_carry_its_memory():
    policy, params = build(DiscreteSpec(3), info=True)
    tracking = ReturnTrackingPolicy(policy, 0.9)
    greedy = GreedyPolicy(tracking)
    state = greedy.initial_state((4,))
    one = tracking.action(params, time_step(FIRST), state, KEY)
    chex.assert_trees_all_equal(one.state, greedy.action(params, time_step(FIRST), state).state)
    validate(one.info, tracking.info_spec, batch_ndim=1)
    assert set(one.info) == {"log_prob", "carry", "discounted_return"}
    plain, _ = build(DiscreteSpec(3))
    assert (
        plain.info_spec == {} and plain.action(params, time_step(FIRST), state[0], KEY).info == ()
    )


def test_observations_are_normalised_before_they_are_remembered():
    policy, params = build(DiscreteSpec(3))
    statistics = init_statistics(ArraySpec((2,))).replace(
        count=jnp.float32(1), variance=jnp.full(2, 4.0)
    )
    state = policy.initial_state((4,))
    remember = lambda params, scale: (
        policy.action(params, time_step(FIRST, scale), state, KEY).state
    )
    normalised = remember(params | {"observation_statistics": statistics}, 2.0)
    np.testing.assert_allclose(normalised, remember(params, 1.0), atol=1e-6)
