"""Encoders: shapes for any leading axes, choices by spec, errors."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_agents import networks
from jax_agents.envs.specs import ArraySpec, BoundedSpec, DiscreteSpec, sample, zeros


def encode(encoder, observation, params=None):
    variables = encoder.init(jax.random.key(0), observation) if params is None else params
    return encoder.apply(variables, observation)


def test_mlp_is_dense_layers_with_an_activation_after_each():
    mlp = networks.MLP((3, 2), kernel_init=nn.initializers.ones)
    np.testing.assert_allclose(encode(mlp, jnp.array([1.0, 2.0])), [9, 9])
    np.testing.assert_allclose(encode(mlp, jnp.array([-1.0, -2.0])), [0, 0])
    assert encode(networks.MLP((5,)), jnp.zeros((4, 3, 2))).shape == (4, 3, 5)
    np.testing.assert_array_equal(encode(networks.MLP(()), jnp.arange(3.0)), jnp.arange(3.0))


def test_the_hidden_initialiser_is_he_truncated_normal():
    kernel = networks.he_truncated_normal(jax.random.key(0), (400, 300))
    np.testing.assert_allclose(kernel.std(), np.sqrt(2 / 400), rtol=0.02)
    # cut at two standard deviations of the untruncated normal
    assert np.abs(kernel).max() < 2.4 * np.sqrt(2 / 400)


def test_convolutions_scale_bytes_and_keep_leading_axes():
    encoder = networks.ConvEncoder((2,), (3,), (2,))
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 9, 9, 1), np.uint8)
    params = encoder.init(jax.random.key(0), images[0, 0])
    features = encoder.apply(params, images)
    assert features.shape == (2, 3, 4 * 4 * 2)
    np.testing.assert_allclose(features[1, 2], encoder.apply(params, images[1, 2]), rtol=1e-5)
    np.testing.assert_allclose(features, encoder.apply(params, np.float32(images) / 255), rtol=1e-5)


def test_the_default_convolutions_are_those_of_nature():
    shapes = jax.eval_shape(
        networks.ConvEncoder().init, jax.random.key(0), np.zeros((84, 84, 4), np.uint8)
    )["params"]
    kernels = [shapes[f"Conv_{i}"]["kernel"].shape for i in range(3)]
    assert kernels == [(8, 8, 4, 32), (4, 4, 32, 64), (3, 3, 64, 64)]
    features = jax.eval_shape(
        lambda images: encode(networks.ConvEncoder(), images), np.zeros((5, 84, 84, 4), np.uint8)
    )
    assert features.shape == (5, 7 * 7 * 64)


def test_convolution_errors():
    with pytest.raises(
        ValueError, match=r"expected images \[..., height, width, channels\], got shape \(4,\)"
    ):
        encode(networks.ConvEncoder(), np.zeros(4, np.float32))
    with pytest.raises(ValueError, match=r"\(10, 10, 3\) are too small.*use smaller ones"):
        encode(networks.ConvEncoder(), np.zeros((10, 10, 3), np.float32))


def test_one_hot_codes():
    np.testing.assert_array_equal(
        encode(networks.OneHot(DiscreteSpec(3)), np.int32([2, 0])), [[0, 0, 1], [1, 0, 0]]
    )
    multi = networks.OneHot(DiscreteSpec((2, 3)))
    np.testing.assert_array_equal(
        encode(multi, np.int32([[1, 2], [0, 0]])), [[0, 1, 0, 0, 1], [1, 0, 1, 0, 0]]
    )


def test_flatten():
    values = np.arange(24, dtype=np.int32).reshape(2, 3, 4)
    assert encode(networks.Flatten(2), values).shape == (2, 12)
    assert encode(networks.Flatten(2), values).dtype == jnp.float32
    assert encode(networks.Flatten(0), values).shape == (2, 3, 4, 1)


def test_small_images_of_bytes_are_scaled_as_large_ones_are():
    spec = BoundedSpec((4, 4, 3), np.uint8, 0, 255)
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3) * 5
    for encoder, observation in [
        (networks.default_encoder(spec), image),
        (networks.default_encoder({"camera": spec}), {"camera": image}),
    ]:
        features = encode(encoder, observation)
        assert features.dtype == jnp.float32
        np.testing.assert_allclose(features, np.arange(48) * 5 / 255, rtol=1e-6)
    np.testing.assert_array_equal(
        encode(networks.Flatten(3), image.astype(np.int32)), np.arange(48) * 5
    )


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: {"board": x}])
@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 255, [0, 1 / 255, 2 / 255]),
        (0, 2, [0, 0.5, 1]),  # a board: as told apart as int8 is
        ([0, 0, 0], [2, 1, 255], [0, 1, 2 / 255]),
        (0, 0, [0, 1, 2]),
    ],
)
def test_bytes_are_scaled_by_their_bounds(wrap, low, high, expected):
    spec = BoundedSpec((3,), np.uint8, low, high)
    encoder = networks.default_encoder(wrap(spec))
    features = encode(encoder, wrap(np.array([0, 1, 2], np.uint8)))
    np.testing.assert_allclose(features, expected, rtol=1e-6)


def test_bytes_of_images_are_scaled_by_their_bounds():
    def features(high):
        image = np.full((36, 36, 1), high, np.uint8)
        return encode(networks.default_encoder(BoundedSpec(image.shape, np.uint8, 0, high)), image)

    np.testing.assert_array_equal(features(2), features(255))
    assert np.any(features(2))


@pytest.mark.parametrize(
    ("shape", "dtype", "axes"),
    [
        ((64, 64, 3), np.uint8, "HWC"),
        ((3, 64, 64), np.uint8, "CHW"),
        ((4, 84, 84), np.float32, "CHW"),
        ((64, 64), np.uint8, "HW"),
    ],
)
@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: {"camera": x}, lambda x: (x,)])
def test_images_get_convolutions_whatever_the_order_of_their_axes(shape, dtype, axes, wrap):
    spec = BoundedSpec(shape, dtype, 0, 255)
    encoder = networks.default_encoder(wrap(spec))
    image = np.random.default_rng(0).integers(0, 255, shape).astype(dtype)
    features = encode(encoder, wrap(image))
    last = {"HWC": image, "CHW": np.moveaxis(image, 0, -1), "HW": image[..., None]}[axes]
    same = networks.default_encoder(wrap(BoundedSpec(last.shape, dtype, 0, 255)))
    np.testing.assert_array_equal(features, encode(same, wrap(last)))
    assert features.size < image.size


def test_conv_encoder_names_the_axes_that_it_expects():
    with pytest.raises(ValueError, match=r"\[..., channels, height, width\], got shape \(4,\)"):
        encode(networks.ConvEncoder(axes="CHW"), np.zeros(4, np.float32))
    with pytest.raises(ValueError, match=r"expected axes in .*, got 'WHC'"):
        encode(networks.ConvEncoder(axes="WHC"), np.zeros((64, 64, 3), np.float32))


def test_dict_encoder_concatenates_leaves_by_name():
    encoder = networks.DictEncoder({"gear": networks.OneHot(DiscreteSpec(2))})
    observation = {"speed": jnp.array([[5.0, 6.0]]), "gear": jnp.array([1])}
    np.testing.assert_array_equal(encode(encoder, observation), [[0, 1, 5, 6]])
    total = networks.DictEncoder({}, combiner=lambda features: sum(features))
    np.testing.assert_array_equal(encode(total, {"a": jnp.ones(2), "b": jnp.ones(2)}), [2, 2])
    pair = networks.DictEncoder({1: networks.OneHot(DiscreteSpec(2))})
    np.testing.assert_array_equal(encode(pair, (jnp.array([7.0]), jnp.array(0))), [7, 1, 0])
    with pytest.raises(
        ValueError,
        match=r"\['wheel'\] are not in the observation, whose leaves are \['speed', 'gear'\]",
    ):
        encode(networks.DictEncoder({"wheel": networks.Flatten(0)}), observation)


SPEC = {
    "camera": BoundedSpec((36, 40, 3), np.uint8, 0, 255),
    "small": BoundedSpec((4, 4, 3), np.float32, 0, 1),
    "vector": ArraySpec((2,)),
    "bits": ArraySpec((2,), np.bool_),
    "number": ArraySpec(()),
    "pair": (DiscreteSpec(3), ArraySpec((1,))),
}


def test_the_default_encoder_takes_any_observation():
    encoder = networks.default_encoder(SPEC)
    conv = int(np.prod((1, 1, 64)))
    size = conv + 48 + 2 + 2 + 1 + (3 + 1)
    params = jax.jit(encoder.init)(jax.random.key(0), zeros(SPEC))
    batch = sample(SPEC, jax.random.key(1), (2, 3))
    features = jax.jit(encoder.apply)(params, batch)
    assert features.shape == (2, 3, size) and features.dtype == jnp.float32
    one = jax.jit(encoder.apply)(params, jax.tree.map(lambda x: x[1, 2], batch))
    np.testing.assert_allclose(features[1, 2], one, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        (ArraySpec((3,)), type(None)),
        (ArraySpec((3,), np.int32), networks.Flatten),
        (DiscreteSpec(3), networks.OneHot),
        (BoundedSpec((36, 36, 1), np.uint8, 0, 255), networks.ConvEncoder),
        (BoundedSpec((35, 36, 1), np.uint8, 0, 255), networks.Flatten),
        ({"observation": ArraySpec((3,)), "action_mask": ArraySpec((2,), np.bool_)}, type(None)),
        ({"a": ArraySpec((3,)), "action_mask": ArraySpec((2,), np.bool_)}, networks.DictEncoder),
    ],
)
def test_the_default_encoder_by_spec(spec, kind):
    assert type(networks.default_encoder(spec)) is kind
