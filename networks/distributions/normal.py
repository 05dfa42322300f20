"""Normal distributions, and those squashed into bounds."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from ...envs.types import Array, add_axes
from .base import Distribution, sum_last

_QUADRATURE = 32  # points


@struct.dataclass
class Normal(Distribution):
    """Independent normal components.

    Attributes:
      loc: Means `[..., *event]`.
      scale: Standard deviations, positive, of the same shape or one that broadcasts.
      event_ndim: Number of last axes that belong to one event, over which log-probabilities are
        summed: 1 for actions `[d]`, 0 for `[]`.
    """

    loc: Array
    scale: Array
    event_ndim: int = struct.field(pytree_node=False, default=1)

    def sample(self, key: Array) -> Array:
        """Draws `[..., *event]`; gradients flow to `loc` and `scale`."""
        loc, scale = jnp.broadcast_arrays(self.loc, self.scale)
        return loc + scale * jax.random.normal(key, loc.shape, loc.dtype)

    def log_prob(self, value: Array) -> Array:
        """Returns the log-densities `[...]` of values `[..., *event]`."""
        each = (
            -0.5 * jnp.square((value - self.loc) / self.scale)
            - jnp.log(self.scale)
            - 0.5 * math.log(2 * math.pi)
        )
        return sum_last(each, self.event_ndim)

    def mode(self) -> Array:
        """Returns the mean, `[..., *event]`."""
        return jnp.broadcast_arrays(self.loc, self.scale)[0]

    def entropy(self) -> Array:
        """Returns the differential entropy in nats, `[...]`."""
        loc, scale = jnp.broadcast_arrays(self.loc, self.scale)
        each = jnp.log(scale) + 0.5 * math.log(2 * math.pi * math.e) + jnp.zeros_like(loc)
        return sum_last(each, self.event_ndim)

    def kl_divergence(self, other: "Normal") -> Array:
        """Returns KL(self || other) in nats, `[...]`."""
        ratio = jnp.square(self.scale / other.scale)
        each = 0.5 * (
            ratio + jnp.square((self.loc - other.loc) / other.scale) - 1.0 - jnp.log(ratio)
        )
        return sum_last(each, self.event_ndim)


@struct.dataclass
class TanhNormal(Distribution):
    """The tanh of independent normals, scaled to bounds (Haarnoja et al. 2018, app. C).

    Densities are those of the scaled action.

    Attributes:
      loc: Means before the tanh, `[..., *event]`.
      scale: Standard deviations before the tanh, positive.
      minimum: Finite lower bounds, a float or nested tuples of the event's shape, as in
        `BoundedSpec`.
      maximum: Finite upper bounds.
      event_ndim: Number of last axes that belong to one event.
    """

    loc: Array
    scale: Array
    minimum: float | tuple = struct.field(pytree_node=False, default=-1.0)
    maximum: float | tuple = struct.field(pytree_node=False, default=1.0)
    event_ndim: int = struct.field(pytree_node=False, default=1)

    def sample(self, key: Array) -> Array:
        """Draws actions `[..., *event]` within the bounds; gradients flow to `loc` and `scale`."""
        return self._squash(self._base().sample(key))

    def sample_and_log_prob(self, key: Array) -> tuple[Array, Array]:
        """Draws actions `[..., *event]` and their log-densities `[...]`.

        It needs no inverse of the tanh, and so is exact near the bounds too.
        """
        x = self._base().sample(key)
        return self._squash(x), self._log_prob_before_tanh(x)

    def log_prob(self, action: Array) -> Array:
        """Returns the log-densities `[...]` of actions `[..., *event]`.

        Actions are first moved inside the bounds by 1e-6 of half the range. In float32, an action
        near a bound has lost digits: prefer `sample_and_log_prob` where actions are drawn.
        """
        low, high = self._bounds()
        least = self._over_batch(1e-6 * (high - low) / 2)
        above = jnp.maximum(action - self._over_batch(low), least)
        below = jnp.maximum(self._over_batch(high) - action, least)
        # The arctanh, better rounded than that of a ratio.
        return self._log_prob_before_tanh(0.5 * (jnp.log(above) - jnp.log(below)))

    def mode(self) -> Array:
        """Returns the squashed mean, `[..., *event]`, which a greedy policy takes.

        It is the median; the density may have its peak elsewhere.
        """
        return self._squash(self._base().mode())

    def entropy(self) -> Array:
        """Returns the differential entropy in nats, `[...]`.

        It is the entropy of the normals plus the mean logarithm of the slope of the tanh. The
        latter has no closed form; Gauss-Hermite quadrature gives it within 2e-4 for scales up to 2,
        within 3e-3 up to 3, and within 0.1 up to 7.4.
        """
        low, high = self._bounds()
        points, weights = np.polynomial.hermite_e.hermegauss(_QUADRATURE)
        loc, scale = jnp.broadcast_arrays(self.loc, self.scale)
        points = add_axes(np.float32(points), loc.ndim + 1)
        x = loc[..., None] + scale[..., None] * points
        log_slope = _log_tanh_slope(x) @ np.float32(weights / weights.sum())
        log_slope += self._over_batch(np.log(high / 2 - low / 2))
        return self._base().entropy() + sum_last(log_slope, self.event_ndim)

    def kl_divergence(self, other: "TanhNormal") -> Array:
        """Returns KL(self || other) in nats, `[...]`, between distributions of the same bounds.

        It is that of the normals.

        Raises:
          ValueError: if the bounds differ, since one may then be positive where the other is 0.
        """
        if (self.minimum, self.maximum) != (other.minimum, other.maximum):
            raise ValueError(
                "TanhNormal.kl_divergence: expected equal bounds, got "
                f"{(self.minimum, self.maximum)} and {(other.minimum, other.maximum)}"
            )
        return self._base().kl_divergence(other._base())

    def _base(self) -> Normal:
        return Normal(self.loc, self.scale, self.event_ndim)

    def _bounds(self) -> tuple[np.ndarray, np.ndarray]:
        low = np.asarray(self.minimum, np.float32)
        high = np.asarray(self.maximum, np.float32)
        if not (np.isfinite(low).all() and np.isfinite(high).all() and (low < high).all()):
            raise ValueError(
                f"TanhNormal: expected finite bounds with minimum < maximum, "
                f"got {self.minimum} and {self.maximum}; "
                "bound the action space (gymnasium.wrappers.TransformAction) or use Normal"
            )
        return low, high

    def _over_batch(self, bounds: np.ndarray) -> np.ndarray:
        """Returns what was computed of the bounds with the batch's axes, float32."""
        return add_axes(np.float32(bounds), max(jnp.ndim(self.loc), jnp.ndim(self.scale)))

    def _squash(self, x: Array) -> Array:
        low, high = self._bounds()
        middle, half = map(self._over_batch, (low / 2 + high / 2, high / 2 - low / 2))
        squashed = middle + half * jnp.tanh(x)
        # rounding may step outside
        return jnp.clip(squashed, self._over_batch(low), self._over_batch(high))

    def _log_prob_before_tanh(self, x: Array) -> Array:
        low, high = self._bounds()
        log_slope = _log_tanh_slope(x) + self._over_batch(np.log((high - low) / 2))
        return self._base().log_prob(x) - sum_last(log_slope, self.event_ndim)


def _log_tanh_slope(x: Array) -> Array:
    """Returns log(1 - tanh(x)^2), stable for any x."""
    return 2.0 * (math.log(2.0) - x - jax.nn.softplus(-2.0 * x))
