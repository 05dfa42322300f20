"""Encoders turn observations `[..., *shape]` into features `[..., size]`, for any leading axes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ..envs.preprocessing import image_axes
from ..envs.specs import BoundedSpec, DiscreteSpec, Spec
from ..envs.types import Array, Tree, split_action_mask

Activation = Callable[[Array], Array]
Initializer = nn.initializers.Initializer

_AXES = {
    "HWC": "height, width, channels",
    "CHW": "channels, height, width",
    "HW": "height, width",
}

# The initialiser of hidden layers in TF-Agents' DQN tutorial: a truncated normal of variance
# 2 / fan_in (He et al. 2015).
he_truncated_normal = nn.initializers.variance_scaling(2.0, "fan_in", "truncated_normal")


def uniform_within(bound: float) -> Initializer:
    """Returns the initialiser that draws uniformly in -bound .. bound."""
    return lambda key, shape, dtype=jnp.float32: jax.random.uniform(
        key, shape, dtype, -bound, bound
    )


def scale_bytes(values: Array, spec: Spec | None = None) -> Array:
    """Scales uint8 to float32, from its bounds to 0..1; returns anything else unchanged.

    Args:
      values: Values `[..., *spec.shape]`.
      spec: Spec of the values; without bounds, or None, they are 0..255.
    """
    if values.dtype != jnp.uint8:
        return values
    if not isinstance(spec, BoundedSpec):
        return values.astype(jnp.float32) / 255.0
    low = spec.low.astype(np.float32)
    width = np.maximum(spec.high.astype(np.float32) - low, 1.0)  # 1 where there is one value only
    return (values.astype(jnp.float32) - low) / width


class MLP(nn.Module):
    """Dense layers of the sizes `hidden`, each followed by `activation`.

    They map `[..., size]` to `[..., hidden[-1]]`.
    """

    hidden: Sequence[int]
    activation: Activation = nn.relu
    kernel_init: Initializer = he_truncated_normal

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        hidden = inputs
        for size in self.hidden:
            hidden = self.activation(nn.Dense(size, kernel_init=self.kernel_init)(hidden))
        return hidden


class ConvEncoder(nn.Module):
    """Convolutions over images `[..., height, width, channels]`, flattened to `[..., size]`.

    uint8 images are scaled to 0..1. The defaults are the network of Mnih et al. 2015 (Nature),
    without its dense layer.

    Attributes:
      features: Number of channels of each convolution.
      kernels: Sizes of their kernels.
      strides: Their strides.
      activation: Function after each convolution.
      axes: Order of an image's axes: "HWC", "CHW" (channels first) or "HW" (grey, no channels).
      spec: Spec of the images, from whose bounds uint8 is scaled; None for 0..255.
    """

    features: Sequence[int] = (32, 64, 64)
    kernels: Sequence[int] = (8, 4, 3)
    strides: Sequence[int] = (4, 2, 1)
    activation: Activation = nn.relu
    axes: str = "HWC"
    spec: Spec | None = None

    @nn.compact
    def __call__(self, images: Array) -> Array:
        if self.axes not in _AXES:
            raise ValueError(f"ConvEncoder: expected axes in {list(_AXES)}, got {self.axes!r}")
        if images.ndim < len(self.axes):
            raise ValueError(
                f"ConvEncoder: expected images [..., {_AXES[self.axes]}], got shape {images.shape}"
            )
        hidden = scale_bytes(images, self.spec)
        if self.axes == "CHW":
            hidden = jnp.moveaxis(hidden, -3, -1)
        elif self.axes == "HW":
            hidden = hidden[..., None]
        batch = hidden.shape[:-3]
        for size, kernel, stride in zip(self.features, self.kernels, self.strides, strict=True):
            conv = nn.Conv(
                size,
                (kernel, kernel),
                (stride, stride),
                padding="VALID",
                kernel_init=he_truncated_normal,
            )
            hidden = self.activation(conv(hidden))
            if 0 in hidden.shape[-3:]:
                raise ValueError(
                    f"ConvEncoder: images {images.shape[len(batch) :]} are too small for kernels "
                    f"{self.kernels}; use smaller ones"
                )
        return hidden.reshape(*batch, -1)


class OneHot(nn.Module):
    """Maps integers `[..., *shape]` to one-hot codes `[..., sum of num_values]`."""

    spec: DiscreteSpec

    @nn.compact
    def __call__(self, values: Array) -> Array:
        if not self.spec.shape:
            return jax.nn.one_hot(values, self.spec.num_values, dtype=jnp.float32)
        codes = [
            jax.nn.one_hot(values[..., i], n, dtype=jnp.float32)
            for i, n in enumerate(self.spec.num_values)
        ]
        return jnp.concatenate(codes, axis=-1)


class Flatten(nn.Module):
    """Flattens the last `ndim` axes, `[..., *shape]` to `[..., size]`, and casts to float32.

    uint8 is scaled to 0..1, from the bounds of `spec` if there is one, or else from 0..255.
    """

    ndim: int
    spec: Spec | None = None

    @nn.compact
    def __call__(self, values: Array) -> Array:
        scaled = scale_bytes(values, self.spec).astype(jnp.float32)
        return scaled.reshape(*values.shape[: values.ndim - self.ndim], -1)


class DictEncoder(nn.Module):
    """Encodes each leaf of a dict or tuple observation, then combines the features.

    `encoders` maps the names of leaves (indices, for a tuple) to modules. A leaf without one is
    used unchanged, and so has to be a vector `[..., size]`. By default the features are
    concatenated.
    """

    encoders: Mapping[str | int, nn.Module]
    combiner: Callable[[Sequence[Array]], Array] = lambda features: jnp.concatenate(
        features, axis=-1
    )

    @nn.compact
    def __call__(self, observation: Tree) -> Array:
        is_tuple = isinstance(observation, tuple | list)
        items = dict(enumerate(observation) if is_tuple else observation)
        unknown = set(self.encoders) - set(items)
        if unknown:
            raise ValueError(
                f"encoders: {sorted(map(str, unknown))} are not in the observation, "
                f"whose leaves are {list(items)}"
            )
        order = sorted(items) if isinstance(observation, Mapping) else items
        features = [
            self.encoders[name](items[name]) if name in self.encoders else items[name]
            for name in order
        ]
        return self.combiner(features)


def encoded(network: Any, observation: Tree) -> Array:
    """Returns the features `[..., size]` of an observation, float32, by `network.encoder`.

    Without an encoder they are the observation itself.

    Raises:
      ValueError: if they are not a vector.
    """
    features = observation if network.encoder is None else network.encoder(observation)
    if not hasattr(features, "ndim") or features.ndim == 0:
        raise ValueError(
            f"{type(network).__name__}: expected a vector observation [..., size], got "
            f"{jax.tree.map(jnp.shape, features)}; give it an encoder "
            "(networks.default_encoder(env.specs.observation) chooses one)"
        )
    return features.astype(jnp.float32)


def default_encoder(spec: Tree) -> nn.Module | None:
    """Returns the encoder that suits an observation spec; None for a vector, which needs none.

    Discrete leaves get one-hot codes, images (`envs.preprocessing.image_axes`: channels last or
    first, or grey, of at least 36 pixels on each side) the convolutions of `ConvEncoder`, and other
    leaves are flattened. uint8 is scaled to 0..1 from its bounds. Dicts and tuples get a
    `DictEncoder` of these, so that each image in them has convolutions of its own. An action mask
    is left out, since networks never see it.
    """
    spec, _ = split_action_mask(spec)
    if not isinstance(spec, Mapping | tuple | list):
        return _leaf_encoder(spec)
    items = spec.items() if isinstance(spec, Mapping) else enumerate(spec)
    encoders = {name: default_encoder(leaf) for name, leaf in items}
    return DictEncoder({name: one for name, one in encoders.items() if one is not None})


def _leaf_encoder(spec: Spec) -> nn.Module | None:
    if isinstance(spec, DiscreteSpec):
        return OneHot(spec)
    axes = image_axes(spec.shape, spec.dtype)
    if axes is not None:
        return ConvEncoder(axes=axes, spec=spec)
    if len(spec.shape) == 1 and jnp.issubdtype(spec.dtype, jnp.floating):
        return None
    return Flatten(len(spec.shape), spec)
