import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_agents.envs.specs import ArraySpec, BoundedSpec, DiscreteSpec
from jax_agents.networks import ActorNetwork, OneHot
from jax_agents.networks.distributions import Categorical, MultiCategorical, Normal

OBSERVATION = jnp.arange(24.0).reshape(2, 3, 4) / 24


def build(spec, observation=OBSERVATION, **options):
    network = ActorNetwork(spec, hidden=(8,), **options)
    variables = network.init(jax.random.key(0), jax.tree.map(lambda x: x[0, 0], observation))
    return network.apply(variables, observation), variables["params"]


@pytest.mark.parametrize(
    ("spec", "kind", "shape"),
    [
        (DiscreteSpec(3), Categorical, (2, 3)),
        (DiscreteSpec((3, 2)), MultiCategorical, (2, 3, 2)),
        (BoundedSpec((2,), np.float32, -1, 1), Normal, (2, 3, 2)),
        (ArraySpec((2, 2)), Normal, (2, 3, 2, 2)),
        (BoundedSpec((), np.float32, 0, 1), Normal, (2, 3)),
    ],
)
def test_distribution_suits_the_spec(spec, kind, shape):
    distribution, _ = build(spec)
    assert isinstance(distribution, kind)
    action, log_prob = distribution.sample_and_log_prob(jax.random.key(1))
    assert action.shape == distribution.mode().shape == shape
    assert log_prob.shape == (2, 3)


def test_starts_about_uniform_and_orthogonal():
    distribution, params = build(DiscreteSpec(4))
    np.testing.assert_allclose(distribution.probs, 0.25, atol=0.02)
    kernel = params["MLP_0"]["Dense_0"]["kernel"]
    # rows of length sqrt(2), orthogonal
    np.testing.assert_allclose(kernel @ kernel.T, 2 * np.eye(4), atol=1e-5)
    np.testing.assert_allclose(jnp.linalg.svd(params["Dense_0"]["kernel"])[1], 0.01, rtol=1e-4)


def test_mask_forbids():
    mask = jnp.array([True, False, True])
    observation = {"observation": OBSERVATION, "action_mask": jnp.broadcast_to(mask, (2, 3, 3))}
    distribution, _ = build(DiscreteSpec(3), observation)
    np.testing.assert_array_equal(distribution.probs[..., 1], 0.0)
    np.testing.assert_allclose(distribution.probs[..., 0], 0.5, atol=0.02)


def test_units_are_half_the_range():
    distribution, params = build(
        BoundedSpec((2,), np.float32, (0.0, -3.0), (4.0, 3.0)), initial_log_std=-1.0
    )
    np.testing.assert_allclose(
        distribution.loc, jnp.broadcast_to(jnp.array([2.0, 0.0]), (2, 3, 2)), atol=0.1
    )
    np.testing.assert_allclose(
        distribution.scale,
        jnp.broadcast_to(jnp.exp(-1.0) * jnp.array([2.0, 3.0]), (2, 3, 2)),
        rtol=1e-6,
    )
    assert params["log_std"].shape == (2,)
    one_value, _ = build(BoundedSpec((2,), np.float32, (0.0, -1.0), (0.0, 1.0)))
    np.testing.assert_array_equal(one_value.scale, 1.0)
    assert np.isfinite(one_value.log_prob(one_value.mode())).all()
    unbounded, _ = build(BoundedSpec((2,), np.float32, -1.0, np.inf))
    np.testing.assert_allclose(unbounded.scale, 1.0)


def test_encoder_and_errors():
    distribution, _ = build(
        DiscreteSpec(2), jnp.zeros((2, 3), jnp.int32), encoder=OneHot(DiscreteSpec(5))
    )
    assert distribution.logits.shape == (2, 3, 2)
    with pytest.raises(
        ValueError, match=r"ActorNetwork: expected a vector observation.*default_encoder"
    ):
        build(DiscreteSpec(2), {"a": OBSERVATION, "b": OBSERVATION})
    with pytest.raises(ValueError, match="discrete or floating-point"):
        build(BoundedSpec((2,), np.int32, 0, 3))
