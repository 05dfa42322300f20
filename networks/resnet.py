"""A residual encoder of images."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp

from ..envs.types import Array
from .encoders import Activation, he_truncated_normal, scale_bytes


class ResNetEncoder(nn.Module):
    """The deep network of IMPALA (Espeholt et al. 2018, figure 3).

    It maps images `[..., height, width, channels]` to features `[..., size]`. Each of its stages is
    a convolution, a maximum over 3 x 3 that halves height and width (rounded up), and `num_blocks`
    residual blocks of two convolutions; all kernels are 3 x 3. uint8 images are scaled to 0..1. The
    paper's dense layer of 256 units is left to the network that comes after. Images may be of any
    size.
    """

    features: Sequence[int] = (16, 32, 32)
    num_blocks: int = 2
    activation: Activation = nn.relu

    @nn.compact
    def __call__(self, images: Array) -> Array:
        if images.ndim < 3:
            raise ValueError(
                "ResNetEncoder: expected images [..., height, width, channels], "
                f"got shape {images.shape}"
            )
        hidden = scale_bytes(images).astype(jnp.float32)
        for size in self.features:
            hidden = nn.max_pool(self._conv(hidden, size), (3, 3), (2, 2), padding="SAME")
            for _ in range(self.num_blocks):
                inner = self._conv(self.activation(hidden), size)
                hidden = hidden + self._conv(self.activation(inner), size)
        return self.activation(hidden).reshape(*images.shape[:-3], -1)

    def _conv(self, inputs: Array, size: int) -> Array:
        return nn.Conv(size, (3, 3), padding="SAME", kernel_init=he_truncated_normal)(inputs)
