"""Functions of errors and rewards that work elementwise, on arrays of any shape."""

import jax
import jax.numpy as jnp

from ...envs.types import Array


def squared(x: Array) -> Array:
    """Returns x^2, without the half, for any shape.

    It is TF-Agents' `element_wise_squared_loss`; rlax's `l2_loss` is 0.5 x^2.
    """
    return jnp.square(x)


def huber(x: Array, delta: Array | float = 1.0) -> Array:
    """Returns 0.5 x^2 for |x| <= delta and delta (|x| - 0.5 delta) beyond (Huber 1964).

    The gradient is at most delta in magnitude.

    Args:
      x: Errors of any shape.
      delta: Magnitude of the error at which the loss turns linear.
    """
    magnitude = jnp.abs(x)
    inside = jnp.minimum(magnitude, delta)
    return 0.5 * inside**2 + delta * (magnitude - inside)


def td_target(r_t: Array, discount_t: Array, v_t: Array) -> Array:
    """Returns r + discount v, without gradient, for any shapes that broadcast.

    Args:
      r_t: Rewards.
      discount_t: Gamma times the environment's discounts.
      v_t: Values of the observations that followed.
    """
    return jax.lax.stop_gradient(r_t + discount_t * v_t)
