"""Distributions over actions: small pytrees with `sample`, `log_prob`, `entropy`, `mode` and `kl_divergence`.

Batch shapes are any; one key draws a whole batch. All of them may be returned from `jit`, mapped by `vmap` and carried
through `scan`: what is not an array is a static field.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from ..envs.types import Array

_QUADRATURE = 32  # points
_FORBIDDEN = -1e30  # its probability is exactly 0; finite, so that differences and gradients are not NaN


class _Distribution:
    """What all distributions share."""

    event_ndim = 0

    def sample_and_log_prob(self: Any, key: Array) -> tuple[Array, Array]:
        """Draws actions `[..., *event]` and their log-probabilities `[...]`."""
        action = self.sample(key)
        return action, self.log_prob(action)


@struct.dataclass
class Categorical(_Distribution):
    """Integers 0 .. n-1 in proportion to exp(logits), among those that a mask allows.

    A forbidden action has probability exactly 0 and log-probability about -1e30. Where a mask forbids everything, as it may on
    an episode's last observation, the distribution is uniform over all n, so that masked-out rows stay free of NaN.

    Attributes:
      logits: `[..., n]`; need not be normalised.
      mask: boolean `[..., n]`, True where allowed; None allows all.
    """

    logits: Array
    mask: Array | None = None

    @property
    def log_probs(self) -> Array:
        """Log-probabilities of all actions, `[..., n]`."""
        return jax.nn.log_softmax(self._masked_logits())

    @property
    def probs(self) -> Array:
        """Probabilities of all actions, `[..., n]`."""
        return jnp.exp(self.log_probs)

    def sample(self, key: Array) -> Array:
        """Draws actions `[...]`, int32, by the Gumbel-max trick."""
        return jax.random.categorical(key, self._masked_logits()).astype(jnp.int32)

    def log_prob(self, action: Array) -> Array:
        """Log-probabilities `[...]` of integer actions `[...]`."""
        chosen = jnp.arange(self.logits.shape[-1]) == jnp.asarray(action)[..., None]
        return jnp.sum(jnp.where(chosen, self.log_probs, 0.0), axis=-1)

    def mode(self) -> Array:
        """The most probable actions `[...]`, int32; the first of equals."""
        return jnp.argmax(self._masked_logits(), axis=-1).astype(jnp.int32)

    def entropy(self) -> Array:
        """-sum p log p in nats, `[...]`, with 0 log 0 = 0."""
        return -jnp.sum(self.probs * self.log_probs, axis=-1)

    def kl_divergence(self, other: "Categorical") -> Array:
        """KL(self || other) in nats, `[...]`; about 1e30 where `other` forbids what self does not."""
        return jnp.sum(self.probs * (self.log_probs - other.log_probs), axis=-1)

    def _masked_logits(self) -> Array:
        logits = jnp.asarray(self.logits)
        logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
        return logits if self.mask is None else jnp.where(self.mask, logits, _FORBIDDEN)


@struct.dataclass
class MultiCategorical(_Distribution):
    """Independent categorical factors, for multi-discrete actions `[..., k]` of factors with `num_values` values each.

    Attributes:
      logits: `[..., sum(num_values)]`, the factors' concatenated.
      num_values: the number of values of each of the k factors.
      mask: boolean, as `logits`, True where allowed; each factor as in `Categorical`. None allows all.

    Raises:
      ValueError: on use, if `logits` do not have sum(num_values) entries.
    """

    event_ndim = 1

    logits: Array
    num_values: tuple[int, ...] = struct.field(pytree_node=False)
    mask: Array | None = None

    def factors(self) -> list[Categorical]:
        """The k factors, each with batch shape `[...]`."""
        width = self.logits.shape[-1]
        if width != sum(self.num_values):
            raise ValueError(f"MultiCategorical: num_values {self.num_values} need {sum(self.num_values)} logits, got {width}")
        ends = np.cumsum(self.num_values)[:-1].tolist()
        masks = [None] * len(self.num_values) if self.mask is None else jnp.split(self.mask, ends, axis=-1)
        return [Categorical(*pair) for pair in zip(jnp.split(self.logits, ends, axis=-1), masks, strict=True)]

    def sample(self, key: Array) -> Array:
        """Draws actions `[..., k]`, int32."""
        keys = jax.random.split(key, len(self.num_values))
        return jnp.stack([f.sample(k) for f, k in zip(self.factors(), keys, strict=True)], axis=-1)

    def log_prob(self, action: Array) -> Array:
        """Log-probabilities `[...]` of actions `[..., k]`."""
        return sum(f.log_prob(action[..., i]) for i, f in enumerate(self.factors()))

    def mode(self) -> Array:
        """The most probable actions `[..., k]`, int32."""
        return jnp.stack([f.mode() for f in self.factors()], axis=-1)

    def entropy(self) -> Array:
        """The factors' entropies summed, in nats, `[...]`."""
        return sum(f.entropy() for f in self.factors())

    def kl_divergence(self, other: "MultiCategorical") -> Array:
        """KL(self || other) in nats, `[...]`."""
        return sum(f.kl_divergence(g) for f, g in zip(self.factors(), other.factors(), strict=True))


@struct.dataclass
class Normal(_Distribution):
    """Independent normal components.

    Attributes:
      loc: means `[..., *event]`.
      scale: standard deviations, positive, of the same shape or one that broadcasts.
      event_ndim: how many last axes are one event's; log-probabilities are summed over them. 1 for actions `[d]`, 0 for `[]`.
    """

    loc: Array
    scale: Array
    event_ndim: int = struct.field(pytree_node=False, default=1)

    def sample(self, key: Array) -> Array:
        """Draws `[..., *event]`; gradients flow to `loc` and `scale`."""
        loc, scale = jnp.broadcast_arrays(self.loc, self.scale)
        return loc + scale * jax.random.normal(key, loc.shape, loc.dtype)

    def log_prob(self, value: Array) -> Array:
        """Log-densities `[...]` of values `[..., *event]`."""
        each = -0.5 * jnp.square((value - self.loc) / self.scale) - jnp.log(self.scale) - 0.5 * math.log(2 * math.pi)
        return _sum_last(each, self.event_ndim)

    def mode(self) -> Array:
        """The mean, `[..., *event]`."""
        return jnp.broadcast_arrays(self.loc, self.scale)[0]

    def entropy(self) -> Array:
        """Differential entropy in nats, `[...]`."""
        loc, scale = jnp.broadcast_arrays(self.loc, self.scale)
        return _sum_last(jnp.log(scale) + 0.5 * math.log(2 * math.pi * math.e) + jnp.zeros_like(loc), self.event_ndim)

    def kl_divergence(self, other: "Normal") -> Array:
        """KL(self || other) in nats, `[...]`."""
        ratio = jnp.square(self.scale / other.scale)
        each = 0.5 * (ratio + jnp.square((self.loc - other.loc) / other.scale) - 1.0 - jnp.log(ratio))
        return _sum_last(each, self.event_ndim)


@struct.dataclass
class TanhNormal(_Distribution):
    """tanh of independent normals, scaled to bounds; densities are those of the scaled action (Haarnoja et al. 2018, app. C).

    Attributes:
      loc: means before the tanh, `[..., *event]`.
      scale: standard deviations before the tanh, positive.
      minimum: finite lower bounds, a float or nested tuples of the event's shape, as in `BoundedSpec`.
      maximum: finite upper bounds.
      event_ndim: as in `Normal`.
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
        """Draws actions `[..., *event]` and their log-densities `[...]`; without an inverse, so exact near the bounds too."""
        x = self._base().sample(key)
        return self._squash(x), self._log_prob_before_tanh(x)

    def log_prob(self, action: Array) -> Array:
        """Log-densities `[...]` of actions `[..., *event]`, which are first moved inside by 1e-6 of half the range.

        An action in float32 near a bound has lost digits: prefer `sample_and_log_prob` where actions are drawn.
        """
        low, high = self._bounds()
        least = 1e-6 * (high - low) / 2
        above, below = (jnp.maximum(distance, least) for distance in (action - low, high - action))
        return self._log_prob_before_tanh(0.5 * (jnp.log(above) - jnp.log(below)))  # arctanh, better rounded than of a ratio

    def mode(self) -> Array:
        """The squashed mean, `[..., *event]`: the median, and what a greedy policy does. (The density may peak elsewhere.)"""
        return self._squash(self._base().mode())

    def entropy(self) -> Array:
        """Differential entropy in nats, `[...]`: that of the normals plus the mean logarithm of the slope.

        The latter has no closed form; Gauss-Hermite quadrature gives it within 2e-4 for scales up to 2, 3e-3 to 3, 0.1 to 7.4.
        """
        low, high = self._bounds()
        points, weights = np.polynomial.hermite_e.hermegauss(_QUADRATURE)
        loc, scale = jnp.broadcast_arrays(self.loc, self.scale)
        x = loc[..., None] + scale[..., None] * np.float32(points)
        log_slope = _log_tanh_slope(x) @ np.float32(weights / weights.sum()) + np.log((high - low) / 2)
        return self._base().entropy() + _sum_last(log_slope, self.event_ndim)

    def kl_divergence(self, other: "TanhNormal") -> Array:
        """KL(self || other) in nats, `[...]`, between distributions on the same bounds: that of the normals.

        Raises:
          ValueError: if the bounds differ, as then one may give weight where the other has none.
        """
        if (self.minimum, self.maximum) != (other.minimum, other.maximum):
            raise ValueError(
                f"TanhNormal.kl_divergence: expected equal bounds, got {(self.minimum, self.maximum)} and "
                f"{(other.minimum, other.maximum)}"
            )
        return self._base().kl_divergence(other._base())

    def _base(self) -> Normal:
        return Normal(self.loc, self.scale, self.event_ndim)

    def _bounds(self) -> tuple[np.ndarray, np.ndarray]:
        low, high = np.asarray(self.minimum, np.float32), np.asarray(self.maximum, np.float32)
        if not (np.isfinite(low).all() and np.isfinite(high).all() and (low < high).all()):
            raise ValueError(
                f"TanhNormal: expected finite bounds with minimum < maximum, got {self.minimum} and {self.maximum}; "
                "rescale the action space (gymnasium.wrappers.RescaleAction) or use Normal"
            )
        return low, high

    def _squash(self, x: Array) -> Array:
        low, high = self._bounds()
        return jnp.clip((low + high) / 2 + (high - low) / 2 * jnp.tanh(x), low, high)  # rounding may step outside

    def _log_prob_before_tanh(self, x: Array) -> Array:
        low, high = self._bounds()
        log_slope = _log_tanh_slope(x) + np.log((high - low) / 2)
        return self._base().log_prob(x) - _sum_last(log_slope, self.event_ndim)


@struct.dataclass
class Uniform(_Distribution):
    """Independent uniform components on [low, high).

    Attributes:
      low: `[..., *event]`, finite.
      high: `[..., *event]`, finite and above `low`.
      event_ndim: as in `Normal`.
    """

    low: Array
    high: Array
    event_ndim: int = struct.field(pytree_node=False, default=1)

    def sample(self, key: Array) -> Array:
        """Draws `[..., *event]`."""
        low, high = jnp.broadcast_arrays(self.low, self.high)
        return jax.random.uniform(key, low.shape, low.dtype, low, high)

    def log_prob(self, value: Array) -> Array:
        """Log-densities `[...]` of values `[..., *event]`: -inf outside the bounds."""
        inside = (value >= self.low) & (value <= self.high)
        return _sum_last(jnp.where(inside, -jnp.log(self.high - self.low), -jnp.inf), self.event_ndim)

    def mode(self) -> Array:
        """The middle, `[..., *event]`; all values are as probable."""
        return 0.5 * self.low + 0.5 * self.high

    def entropy(self) -> Array:
        """Differential entropy in nats, `[...]`."""
        return _sum_last(jnp.log(self.high - self.low), self.event_ndim)

    def kl_divergence(self, other: "Uniform") -> Array:
        """KL(self || other) in nats, `[...]`: inf where self reaches outside of other."""
        inside = (self.low >= other.low) & (self.high <= other.high)
        log_ratio = jnp.log(other.high - other.low) - jnp.log(self.high - self.low)
        return _sum_last(jnp.where(inside, log_ratio, jnp.inf), self.event_ndim)


@struct.dataclass
class Deterministic(_Distribution):
    """All probability on one value.

    Attributes:
      value: `[..., *event]`. A tree may be drawn, but has no log-probability.
      event_ndim: how many last axes are one event's: 0 for a discrete action, 1 for actions `[d]`.
    """

    value: Array
    event_ndim: int = struct.field(pytree_node=False, default=0)

    def sample(self, key: Array | None = None) -> Array:
        """The value; needs no key."""
        return self.value

    def log_prob(self, value: Array) -> Array:
        """0 where `value` is the value, in all components, and -inf elsewhere, `[...]`."""
        return _sum_last(jnp.where(value == self.value, 0.0, -jnp.inf), self.event_ndim)

    def mode(self) -> Array:
        """The value."""
        return self.value

    def entropy(self) -> Array:
        """0, of shape `[...]`."""
        return jnp.zeros(jnp.shape(self.value)[: jnp.ndim(self.value) - self.event_ndim])

    def kl_divergence(self, other: "Deterministic") -> Array:
        """0 where the values are equal, inf elsewhere, `[...]`."""
        return -other.log_prob(self.value)


def epsilon_greedy(q_values: Array, epsilon: Array | float, mask: Array | None = None) -> Categorical:
    """The marginal distribution of the epsilon-greedy choice: (1 - epsilon) greedy + epsilon uniform over allowed actions.

    Its log-probability is that of the action, however it came about; with epsilon 0 it is exactly 0 for the greedy action.

    Args:
      q_values: `[..., n]`.
      epsilon: in [0, 1]; a scalar or `[...]`, traced or not.
      mask: boolean `[..., n]`, True where allowed. Where it forbids everything, the choice is uniform over all n.
    """
    q_values = jnp.asarray(q_values)
    allowed = jnp.ones(q_values.shape, bool) if mask is None else jnp.broadcast_to(mask, q_values.shape).astype(bool)
    best = jax.nn.one_hot(Categorical(q_values, allowed).mode(), q_values.shape[-1])
    epsilon = jnp.asarray(epsilon)[..., None]
    uniform = allowed / jnp.maximum(jnp.sum(allowed, axis=-1, keepdims=True), 1)
    probs = (1.0 - epsilon) * best + epsilon * uniform
    support = (probs > 0.0) & allowed
    return Categorical(jnp.log(jnp.where(support, probs, 1.0)), support)


def _log_tanh_slope(x: Array) -> Array:
    """log(1 - tanh(x)^2), stable for any x."""
    return 2.0 * (math.log(2.0) - x - jax.nn.softplus(-2.0 * x))


def _sum_last(x: Array, ndim: int) -> Array:
    return jnp.sum(x, axis=tuple(range(-ndim, 0))) if ndim else x
