"""Updates from prioritised replay (Schaul et al. 2016)."""

from typing import Any

import jax.numpy as jnp

from ..envs.types import Array


def importance_weights(
    probability: Array, table_size: Array, beta: Any, masked: Array | None = None
) -> Array:
    """(N P(i))^-beta divided by the batch's largest (Schaul et al. 2016, section 3.4), `[B]`.

    `masked` `[B]` is true for windows that begin with a boundary row. No transition is learned
    there, so that their priority is the least, and the weights of all others would be small if they
    counted. Theirs are cut to 1.
    """
    weights = (table_size * probability) ** -beta
    if masked is None:
        return weights / weights.max()
    largest = jnp.max(weights, where=~masked, initial=jnp.finfo(jnp.float32).tiny)
    return jnp.minimum(weights / largest, 1.0)
