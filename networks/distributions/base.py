"""The base of distributions."""

from typing import Any

import jax.numpy as jnp

from ...envs.types import Array


class Distribution:
    """The base of all distributions; a subclass has `sample` and `log_prob` at least."""

    event_ndim = 0

    def sample_and_log_prob(self: Any, key: Array) -> tuple[Array, Array]:
        """Draws actions `[..., *event]` and their log-probabilities `[...]`."""
        action = self.sample(key)
        return action, self.log_prob(action)


def sum_last(x: Array, ndim: int) -> Array:
    """Returns the sum over the last `ndim` axes."""
    return jnp.sum(x, axis=tuple(range(-ndim, 0))) if ndim else x
