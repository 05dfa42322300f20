import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_agents import agents, networks
from jax_agents.envs.specs import BoundedSpec, DiscreteSpec, EnvironmentSpecs
from jax_agents.networks import ResNetEncoder


def test_the_default_is_the_papers():
    shapes = jax.eval_shape(
        ResNetEncoder().init, jax.random.key(0), np.zeros((84, 84, 4), np.uint8)
    )["params"]
    kernels = [shapes[f"Conv_{i}"]["kernel"].shape for i in range(15)]
    assert len(shapes) == 15  # 3 stages of a convolution and 2 blocks of 2
    assert (
        kernels[0] == (3, 3, 4, 16)
        and kernels[5] == (3, 3, 16, 32)
        and kernels[10] == (3, 3, 32, 32)
    )
    assert {kernels[i] for i in range(1, 5)} == {(3, 3, 16, 16)}
    images = np.zeros((2, 5, 84, 84, 4), np.uint8)
    features = jax.eval_shape(
        lambda x: ResNetEncoder().init_with_output(jax.random.key(0), x)[0], images
    )
    assert features.shape == (2, 5, 11 * 11 * 32)


def test_a_block_by_hand():
    """An image of one pixel sees the middle of each kernel.

    So h = 2 x - 1, inner = -3 relu(h) + 4, and the output is relu(h + 0.5 relu(inner)).
    """
    encoder = ResNetEncoder((1,), 1)
    params = encoder.init(jax.random.key(0), jnp.zeros((1, 1, 1)))
    for i, (kernel, bias) in enumerate([(2.0, -1.0), (-3.0, 4.0), (0.5, 0.0)]):
        params["params"][f"Conv_{i}"] = {
            "kernel": jnp.full((3, 3, 1, 1), kernel),
            "bias": jnp.full(1, bias),
        }
    x = np.float32([0.0, 0.75, 1.0, 3.0])
    features = encoder.apply(params, x.reshape(4, 1, 1, 1))[:, 0]
    np.testing.assert_allclose(
        features, [max(0, -1 + 0.5 * 4), 0.5 + 0.5 * 2.5, 1 + 0.5 * 1, 5 + 0.5 * 0]
    )


def test_pooling_takes_the_greatest_and_halves_rounding_up():
    encoder = ResNetEncoder((1,), 0)
    params = encoder.init(jax.random.key(0), jnp.zeros((5, 5, 1)))
    one = np.zeros((3, 3, 1, 1), np.float32)
    one[1, 1] = 1.0  # a convolution that changes nothing
    params["params"]["Conv_0"] = {"kernel": one, "bias": jnp.zeros(1)}
    image = np.arange(25, dtype=np.float32).reshape(5, 5, 1)
    np.testing.assert_allclose(
        encoder.apply(params, image).reshape(3, 3), [[6, 8, 9], [16, 18, 19], [21, 23, 24]]
    )


def test_bytes_are_scaled_and_leading_axes_kept():
    encoder = ResNetEncoder((2, 2), 1)
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 7, 5, 1), np.uint8)
    params = jax.jit(encoder.init)(jax.random.key(0), images[0, 0])
    apply = jax.jit(encoder.apply)
    features = apply(params, images)
    assert features.shape == (2, 3, 2 * 2 * 2)
    np.testing.assert_allclose(
        features, apply(params, np.float32(images) / 255), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(features[1, 2], apply(params, images[1, 2]), rtol=1e-4, atol=1e-5)
    with pytest.raises(
        ValueError, match=r"expected images \[..., height, width, channels\], got shape \(7, 5\)"
    ):
        encoder.init(jax.random.key(0), images[0, 0, :, :, 0])


def test_it_fits_the_networks_of_any_agent():
    specs = EnvironmentSpecs(BoundedSpec((12, 12, 3), np.uint8, 0, 255), DiscreteSpec(3))
    trunk = networks.Sequential([ResNetEncoder((4, 4)), nn.relu, networks.MLP((16,))])
    heads = networks.ActorNetwork(specs.action, ()), networks.ValueNetwork(())
    for agent in (
        agents.DqnAgent(
            specs, networks.QNetwork(3, (16,), encoder=ResNetEncoder((4, 4))), optax.sgd(0.1)
        ),
        agents.PpoAgent(specs, networks.ActorValueNetwork(*heads, trunk=trunk), optax.sgd(0.1)),
    ):
        assert "Conv_9" in str(jax.eval_shape(agent.init, jax.random.key(0)).params)
