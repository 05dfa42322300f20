"""`Sequential` applies layers one after the other."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn


class Sequential(nn.Module):
    """Applies `layers`, modules or plain functions, one after the other.

    TF-Agents' tutorials write networks in this way.

    >>> import flax.linen as nn, jax, jax.numpy as jnp
    >>> network = Sequential([nn.Dense(100), nn.relu, nn.Dense(2)])
    >>> network.init_with_output(jax.random.key(0), jnp.zeros((3, 4)))[0].shape
    (3, 2)
    """

    layers: Sequence[Callable[..., Any]]

    @nn.compact
    def __call__(self, inputs: Any) -> Any:
        outputs = inputs
        for layer in self.layers:
            outputs = layer(outputs)
        return outputs
