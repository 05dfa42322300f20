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


def scaled(weight: Array | float, x: Array) -> Array:
    """Returns weight x `x`, and 0 where the weight is 0, whatever `x` is there.

    A product would make NaN of 0 and infinity, and of 0 and NaN, in its gradient too.

    Args:
      weight: Weights of any shape, such as discounts, that broadcasts with that of `x`.
      x: Numbers, such as values.
    """
    return weight * jnp.where(weight == 0, 0.0, x)


def td_target(r_t: Array, discount_t: Array, v_t: Array) -> Array:
    """Returns r + discount v, without gradient, for any shapes that broadcast.

    Where the discount is 0, the value does not count, whatever it is.

    Args:
      r_t: Rewards.
      discount_t: Gamma times the environment's discounts.
      v_t: Values of the observations that followed.
    """
    return jax.lax.stop_gradient(r_t + scaled(discount_t, v_t))
