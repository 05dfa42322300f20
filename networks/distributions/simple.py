"""Distributions without learned parameters: uniform ones, and those of a single value."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from ...envs.types import Array
from .base import Distribution, sum_last


@struct.dataclass
class Uniform(Distribution):
    """Independent uniform components on [low, high).

    Attributes:
      low: Lower bounds `[..., *event]`, finite.
      high: Upper bounds `[..., *event]`, finite and above `low`.
      event_ndim: Number of last axes that belong to one event.
    """

    low: Array
    high: Array
    event_ndim: int = struct.field(pytree_node=False, default=1)

    def sample(self, key: Array) -> Array:
        """Draws `[..., *event]`."""
        low, high = jnp.broadcast_arrays(self.low, self.high)
        return jax.random.uniform(key, low.shape, low.dtype, low, high)

    def log_prob(self, value: Array) -> Array:
        """Returns the log-densities `[...]` of values `[..., *event]`: -inf outside the bounds."""
        inside = (value >= self.low) & (value <= self.high)
        each = jnp.where(inside, -jnp.log(self.high - self.low), -jnp.inf)
        return sum_last(each, self.event_ndim)

    def mode(self) -> Array:
        """Returns the middle, `[..., *event]`; all values are equally probable."""
        return 0.5 * self.low + 0.5 * self.high

    def entropy(self) -> Array:
        """Returns the differential entropy in nats, `[...]`."""
        return sum_last(jnp.log(self.high - self.low), self.event_ndim)

    def kl_divergence(self, other: "Uniform") -> Array:
        """Returns KL(self || other) in nats, `[...]`: inf where self reaches outside of other."""
        inside = (self.low >= other.low) & (self.high <= other.high)
        log_ratio = jnp.log(other.high - other.low) - jnp.log(self.high - self.low)
        return sum_last(jnp.where(inside, log_ratio, jnp.inf), self.event_ndim)


@struct.dataclass
class Deterministic(Distribution):
    """All probability on one value.

    Attributes:
      value: Value `[..., *event]`. A tree can be drawn, but has no log-probability.
      event_ndim: Number of last axes that belong to one event: 0 for a discrete action, 1 for
        actions `[d]`.
    """

    value: Array
    event_ndim: int = struct.field(pytree_node=False, default=0)

    def sample(self, key: Array | None = None) -> Array:
        """Returns the value; it needs no key."""
        return self.value

    def log_prob(self, value: Array) -> Array:
        """Returns 0 where `value` is the value, in all components, and -inf elsewhere, `[...]`."""
        return sum_last(
            jnp.where(value == self.value, np.float32(0.0), np.float32(-np.inf)), self.event_ndim
        )

    def mode(self) -> Array:
        """Returns the value."""
        return self.value

    def entropy(self) -> Array:
        """Returns zeros `[...]`."""
        return jnp.zeros(
            jnp.shape(self.value)[: jnp.ndim(self.value) - self.event_ndim], jnp.float32
        )

    def kl_divergence(self, other: "Deterministic") -> Array:
        """Returns 0 where the values are equal, inf elsewhere, `[...]`."""
        return -other.log_prob(self.value)
