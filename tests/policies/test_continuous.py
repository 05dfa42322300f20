import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_agents import envs
from jax_agents.envs.specs import BoundedSpec
from jax_agents.envs.types import PolicyStep, TimeStep
from jax_agents.networks.distributions import Deterministic
from jax_agents.policies import GaussianNoisePolicy, OrnsteinUhlenbeckPolicy

SPEC = BoundedSpec((2,), np.float32, (-4.0, 0.0), (4.0, 1.0))  # half ranges 4 and 0.5
MIDDLE = jnp.array([0.0, 0.5])


class Still:
    """Always the middle of the range."""

    def initial_state(self, batch_shape=()):
        return jnp.zeros(batch_shape)

    def distribution(self, params, time_step, state=()):
        value = jnp.broadcast_to(MIDDLE, (*jnp.shape(time_step.step_type), 2))
        return PolicyStep(Deterministic(value, 1), state + 1)


def steps(types):
    types = jnp.asarray(types, jnp.int32)
    return TimeStep(
        types, jnp.zeros(types.shape), jnp.ones(types.shape), jnp.zeros((*types.shape, 1))
    )


def test_gaussian_noise_is_in_units_of_half_the_range_and_of_each_environment():
    policy = GaussianNoisePolicy(Still(), SPEC, 0.1)
    params = {"step": jnp.int32(0)}
    step = policy.action(
        params, steps(np.ones(5000)), policy.initial_state((5000,)), jax.random.key(0)
    )
    np.testing.assert_allclose(step.action.mean(0), MIDDLE, atol=0.02)
    np.testing.assert_allclose(step.action.std(0), [0.4, 0.05], rtol=0.05)
    assert len(np.unique(step.action[:, 0])) > 4900 and (step.state == 1).all()
    correlation = np.corrcoef(step.action.T)[0, 1]
    assert abs(correlation) < 0.05
    other = policy.action(
        params, steps(np.ones(5000)), policy.initial_state((5000,)), jax.random.key(1)
    )
    assert (other.action != step.action).all(axis=-1).mean() > 0.99


def test_the_scale_may_be_a_schedule():
    policy = GaussianNoisePolicy(Still(), SPEC, optax.linear_schedule(1.0, 0.0, 10))
    action = policy.action(
        {"step": jnp.int32(10)}, steps([1]), policy.initial_state((1,)), jax.random.key(0)
    ).action
    np.testing.assert_array_equal(action[0], MIDDLE)


@pytest.mark.parametrize("cls", [GaussianNoisePolicy, OrnsteinUhlenbeckPolicy])
def test_actions_keep_to_the_spec_and_have_no_density(cls):
    policy = cls(Still(), SPEC, 10.0)
    step = policy.action(
        {"step": jnp.int32(0)}, steps(np.ones(100)), policy.initial_state((100,)), jax.random.key(0)
    )
    envs.validate(np.asarray(step.action), SPEC, batch_ndim=1, values=True)
    assert (step.action == SPEC.high).any() and (step.action == SPEC.low).any()
    with pytest.raises(NotImplementedError, match=rf"{cls.__name__}.*no density"):
        policy.distribution({}, steps([1]))


@pytest.mark.parametrize("cls", [GaussianNoisePolicy, OrnsteinUhlenbeckPolicy])
def test_exploring_needs_a_key(cls):
    policy = cls(Still(), SPEC)
    with pytest.raises(
        ValueError, match=rf"{cls.__name__}\.action: expected a random key, got None"
    ):
        policy.action({"step": jnp.int32(0)}, steps([1]), policy.initial_state((1,)))


def test_ornstein_uhlenbeck_noise_by_hand_and_its_reset():
    policy = OrnsteinUhlenbeckPolicy(Still(), SPEC, scale=0.1, damping=0.25)
    state = (jnp.zeros(2), jnp.array([[0.4, -0.4], [0.4, -0.4]]))
    step = policy.action({"step": jnp.int32(0)}, steps([1, 0]), state, jax.random.key(3))
    draw = 0.1 * jax.random.normal(jax.random.key(3), (2, 2))
    # 0.75 of what was, and nothing where an episode starts
    noise = np.array([[0.3, -0.3], [0.0, 0.0]]) + draw
    np.testing.assert_allclose(step.state[1], noise, rtol=1e-6)
    np.testing.assert_allclose(step.action, MIDDLE + np.array([4.0, 0.5]) * noise, rtol=1e-5)


def test_ornstein_uhlenbeck_noise_persists_with_the_spread_it_says():
    policy = OrnsteinUhlenbeckPolicy(Still(), SPEC, scale=0.05, damping=0.1)

    @jax.jit
    def run(key):
        def one(state, key):
            step = policy.action({"step": jnp.int32(0)}, steps(jnp.ones(500)), state, key)
            return step.state, step.state[1][:, 0]

        return jax.lax.scan(one, policy.initial_state((500,)), jax.random.split(key, 100))[1]

    noise = np.asarray(run(jax.random.key(0)))
    assert noise[50:].std() == pytest.approx(0.05 / np.sqrt(1 - 0.9**2), rel=0.05)
    assert np.corrcoef(noise[-2], noise[-1])[0, 1] == pytest.approx(0.9, abs=0.03)


@pytest.mark.parametrize("cls", [GaussianNoisePolicy, OrnsteinUhlenbeckPolicy])
def test_the_parameters_may_have_a_scale_of_their_own(cls):
    policy = cls(Still(), SPEC, 0.3)
    params = {"step": jnp.int32(0), "noise_scale": jnp.float32(0.0)}
    step = policy.action(params, steps([1]), policy.initial_state((1,)), jax.random.key(0))
    np.testing.assert_array_equal(step.action[0], MIDDLE)
