"""Noisy dense layers, and the application of networks with noise."""

import math
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ..envs.types import Array, Tree, add_axes
from .encoders import Initializer, uniform_within


class NoisyDense(nn.Module):
    """A dense layer with weights of mean + sigma x noise (Fortunato et al. 2018, eq. 9 to 11).

    The noise is factorised and drawn again for each call. Applied with `rngs={"noise": key}`, one
    draw serves all leading axes of the inputs `[..., size]`, as in the paper (`apply_network` can
    draw for each example); without that key, the weights are their means. At the start, means are
    uniform in +-1 / sqrt(size) and sigmas are `sigma` / sqrt(size).
    """

    features: int
    sigma: float = 0.5
    kernel_init: Initializer | None = None
    bias_init: Initializer | None = None

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        size = inputs.shape[-1]
        mean_init = uniform_within(1 / math.sqrt(size))
        sigma_init = nn.initializers.constant(self.sigma / math.sqrt(size))
        kernel = self.param(
            "kernel", self.kernel_init or mean_init, (size, self.features), jnp.float32
        )
        bias = self.param("bias", self.bias_init or mean_init, (self.features,), jnp.float32)
        kernel_sigma = self.param("kernel_sigma", sigma_init, (size, self.features), jnp.float32)
        bias_sigma = self.param("bias_sigma", sigma_init, (self.features,), jnp.float32)
        over_batch = partial(add_axes, ndim=inputs.ndim)
        outputs = inputs @ kernel + over_batch(bias)
        if not self.has_rng("noise"):
            return outputs
        input_key, output_key = jax.random.split(self.make_rng("noise"))
        input_noise = over_batch(_noise(input_key, (size,)))
        output_noise = over_batch(_noise(output_key, (self.features,)))
        # The product of the inputs with sigma x outer(input noise, output noise), without a matrix
        # for each example.
        noise = (inputs * input_noise) @ kernel_sigma + over_batch(bias_sigma)
        return outputs + noise * output_noise


def apply_network(network: Any, variables: Tree, inputs: Tree, noise: Array | None = None) -> Array:
    """Returns `network.apply(variables, inputs)`, with noise where `noise` is a key.

    Args:
      network: Network, anything with `apply`.
      variables: Variables of the network.
      inputs: Inputs with leaves `[..., *shape]`.
      noise: Key of one draw for the whole batch, or keys `[...]`, of the inputs' leading axes, of a
        draw for each example; None for no noise.
    """
    if noise is None:
        return network.apply(variables, inputs)
    apply = lambda inputs, key: network.apply(variables, inputs, rngs={"noise": key})
    for _ in range(noise.ndim):
        apply = jax.vmap(apply)
    return apply(inputs, noise)


def draws_noise(network: Any, inputs: Tree) -> bool:
    """True if a network's outputs depend on the key in `rngs={"noise": key}`.

    They do if there is a `NoisyDense` in it.
    """
    if not isinstance(network, nn.Module):
        return False
    variables = jax.eval_shape(network.init, jax.random.key(0), inputs)
    jaxpr = jax.make_jaxpr(lambda key, variables: apply_network(network, variables, inputs, key))(
        jax.random.key(0), variables
    )
    key = jaxpr.jaxpr.invars[0]
    return any(variable is key for equation in jaxpr.jaxpr.eqns for variable in equation.invars)


def _noise(key: Array, shape: tuple[int, ...]) -> Array:
    noise = jax.random.normal(key, shape, jnp.float32)
    return jnp.sign(noise) * jnp.sqrt(jnp.abs(noise))
