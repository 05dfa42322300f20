import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_agents.envs.specs import BoundedSpec, DiscreteSpec, validate
from jax_agents.envs.types import StepType, TimeStep, Trajectory
from jax_agents.networks import ActorNetwork, init_statistics, update_statistics
from jax_agents.networks.distributions import TanhNormal
from jax_agents.policies import ActorPolicy, GreedyPolicy, ReturnTrackingPolicy
from jax_agents.policies.actor_policy import drawn_actions

OBSERVATION = jnp.linspace(-1, 1, 20).reshape(5, 4)


def step(step_type=StepType.MID, reward=0.0):
    return TimeStep(jnp.full(5, step_type), jnp.full(5, reward), jnp.ones(5), OBSERVATION)


def build(spec, **options):
    network = ActorNetwork(
        spec, hidden=(8,), output_kernel_init=jax.nn.initializers.orthogonal(2.0)
    )
    return ActorPolicy(network, spec, **options), {
        "params": {"actor": network.init(jax.random.key(0), OBSERVATION)}
    }


def test_discrete_action_and_its_log_probability():
    policy, params = build(DiscreteSpec(3), info=True)
    result = policy.action(params, step(), key=jax.random.key(1))
    distribution = policy.distribution(params, step()).action
    np.testing.assert_allclose(
        result.info["log_prob"], distribution.log_prob(result.action), rtol=1e-6
    )
    validate(result.info, policy.info_spec, batch_ndim=1)
    validate(result.action, policy.spec, batch_ndim=1, values=True)
    assert build(DiscreteSpec(3))[0].action(params, step(), key=jax.random.key(1)).info == ()
    np.testing.assert_array_equal(
        GreedyPolicy(policy).action(params, step()).action, distribution.mode()
    )


def test_actions_are_clipped_and_the_drawn_ones_kept():
    spec = BoundedSpec((2,), np.float32, -0.5, 0.5)
    policy, params = build(spec, info=True)
    result = policy.action(params, step(), key=jax.random.key(2))
    drawn = result.info["drawn_action"]
    assert (jnp.abs(drawn) > 0.5).any() and jnp.abs(result.action).max() == 0.5
    np.testing.assert_array_equal(result.action, jnp.clip(drawn, -0.5, 0.5))
    expected = policy.distribution(params, step()).action.log_prob(drawn)
    np.testing.assert_allclose(result.info["log_prob"], expected, rtol=1e-5)
    validate(result.info, policy.info_spec, batch_ndim=1)
    validate(result.action, spec, batch_ndim=1, values=True)
    row = Trajectory(None, None, result.action, result.info, None, None, None)
    assert drawn_actions(row) is drawn


@pytest.mark.parametrize("low, high", [(-0.1, 0.1), (-0.1, np.inf)])
def test_greedy_actions_are_clipped_as_drawn_ones_are(low, high):
    spec = BoundedSpec((2,), np.float32, low, high)
    policy, params = build(spec, info=True)
    mode = policy.distribution(params, step()).action.mode()
    assert (mode < low).any() and mode.max() > 0.1
    for greedy in (GreedyPolicy(policy), GreedyPolicy(ReturnTrackingPolicy(policy, 0.9))):
        state = greedy.initial_state((5,))
        action = greedy.action(params, step(), state).action
        np.testing.assert_array_equal(action, jnp.clip(mode, low, high))
        np.testing.assert_array_equal(
            greedy.distribution(params, step(), state).action.mode(), action
        )
        validate(action, spec, batch_ndim=1, values=True)


def test_the_stored_log_probability_is_that_of_the_rounded_action():
    """At 12 standard deviations tanh is 1 in float32: what it was before is lost, to the policy and
    to the loss alike.
    """
    spec = BoundedSpec((1,), np.float32, -1.0, 1.0)

    class Saturated:
        def apply(self, variables, observation):
            return TanhNormal(jnp.full((5, 1), 12.0), jnp.full((5, 1), 0.5))

    policy = ActorPolicy(Saturated(), spec, info=True)
    result = policy.action({"params": {"actor": {}}}, step(), key=jax.random.key(0))
    again = Saturated().apply({}, OBSERVATION).log_prob(result.info["drawn_action"])
    np.testing.assert_array_equal(result.info["log_prob"], again)


def test_statistics_in_the_parameters_normalise():
    policy, params = build(DiscreteSpec(3))
    statistics = update_statistics(init_statistics(BoundedSpec((4,))), OBSERVATION * 7 + 3)
    moved = step()._replace(observation=OBSERVATION * 7 + 3)
    normal = policy.distribution(params | {"observation_statistics": statistics}, moved).action
    by_hand = (OBSERVATION - OBSERVATION.mean(0)) / OBSERVATION.std(0)
    expected = policy.distribution(params, moved._replace(observation=by_hand)).action
    np.testing.assert_allclose(normal.probs, expected.probs, rtol=1e-4)


def test_returns_are_tracked_within_episodes():
    inner, params = build(DiscreteSpec(3), info=True)
    policy = ReturnTrackingPolicy(inner, 0.5)
    state, seen = policy.initial_state((5,)), []
    for step_type, reward in [(0, 0.0), (1, 1.0), (1, 2.0), (2, 4.0), (0, 0.0), (1, 8.0)]:
        result = policy.action(params, step(step_type, reward), state, jax.random.key(3))
        state = result.state
        seen.append(float(result.info["discounted_return"][0]))
    assert seen == [0.0, 1.0, 2.5, 5.25, 0.0, 8.0]
    validate(result.info, policy.info_spec, batch_ndim=1)
    plain = inner.action(params, step(), key=jax.random.key(3))
    np.testing.assert_array_equal(result.action, plain.action)
