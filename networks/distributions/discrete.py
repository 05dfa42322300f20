"""Distributions over finitely many actions."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from ...envs.types import Array, add_axes
from .base import Distribution

# The logit of a forbidden action, whose probability is exactly 0. It is finite, so that differences
# and gradients are not NaN.
_FORBIDDEN = -1e30


@struct.dataclass
class Categorical(Distribution):
    """Integers 0 .. n - 1 with probabilities in proportion to exp(logits), masked.

    An action is forbidden by the mask, or by a logit of -inf. A forbidden action has probability
    exactly 0 and log-probability about -1e30, so that entropy and divergence are finite, and so are
    their gradients. Where everything is forbidden, as it may be on an episode's last observation,
    the distribution is uniform over all n, so that masked-out rows stay free of NaN.

    Attributes:
      logits: Logits `[..., n]`, which need not be normalised; -inf forbids an action.
      mask: Boolean `[..., n]`, True where an action is allowed; None allows all.
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
        """Returns the log-probabilities `[...]` of integer actions `[...]`."""
        action = jnp.asarray(action)[..., None]
        chosen = add_axes(jnp.arange(self.logits.shape[-1]), action.ndim) == action
        return jnp.sum(jnp.where(chosen, self.log_probs, 0.0), axis=-1)

    def mode(self) -> Array:
        """Returns the most probable actions `[...]`, int32; the first of equals."""
        return jnp.argmax(self._masked_logits(), axis=-1).astype(jnp.int32)

    def entropy(self) -> Array:
        """Returns the entropy -sum p log p in nats, `[...]`, with 0 log 0 = 0."""
        return -jnp.sum(self.probs * self.log_probs, axis=-1)

    def kl_divergence(self, other: "Categorical") -> Array:
        """Returns KL(self || other) in nats, `[...]`.

        It is about 1e30 where `other` forbids an action that `self` allows.
        """
        return jnp.sum(self.probs * (self.log_probs - other.log_probs), axis=-1)

    def _masked_logits(self) -> Array:
        logits = jnp.asarray(self.logits)
        logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
        allowed = logits != -jnp.inf
        if self.mask is not None:
            allowed &= jnp.asarray(self.mask, bool)
        return jnp.where(allowed, logits, _FORBIDDEN)


@struct.dataclass
class MultiCategorical(Distribution):
    """Independent categorical factors, for multi-discrete actions `[..., k]`.

    Attributes:
      logits: Logits of all factors, concatenated, `[..., sum(num_values)]`.
      num_values: Number of values of each of the k factors.
      mask: Boolean of the shape of `logits`, True where a value is allowed, with the meaning that
        it has in `Categorical`; None allows all.

    Raises:
      ValueError: on use, if there are not sum(num_values) logits.
    """

    event_ndim = 1

    logits: Array
    num_values: tuple[int, ...] = struct.field(pytree_node=False)
    mask: Array | None = None

    def factors(self) -> list[Categorical]:
        """Returns the k factors, each with batch shape `[...]`."""
        width = self.logits.shape[-1]
        if width != sum(self.num_values):
            raise ValueError(
                f"MultiCategorical: num_values {self.num_values} need {sum(self.num_values)} "
                f"logits, got {width}"
            )
        ends = np.cumsum(self.num_values)[:-1].tolist()
        parts = jnp.split(self.logits, ends, axis=-1)
        if self.mask is None:
            return [Categorical(part) for part in parts]
        return [*map(Categorical, parts, jnp.split(self.mask, ends, axis=-1))]

    def sample(self, key: Array) -> Array:
        """Draws actions `[..., k]`, int32."""
        keys = jax.random.split(key, len(self.num_values))
        return jnp.stack([f.sample(k) for f, k in zip(self.factors(), keys, strict=True)], axis=-1)

    def log_prob(self, action: Array) -> Array:
        """Returns the log-probabilities `[...]` of actions `[..., k]`."""
        return sum(f.log_prob(action[..., i]) for i, f in enumerate(self.factors()))

    def mode(self) -> Array:
        """Returns the most probable actions `[..., k]`, int32."""
        return jnp.stack([f.mode() for f in self.factors()], axis=-1)

    def entropy(self) -> Array:
        """Returns the sum of the factors' entropies in nats, `[...]`."""
        return sum(f.entropy() for f in self.factors())

    def kl_divergence(self, other: "MultiCategorical") -> Array:
        """Returns KL(self || other) in nats, `[...]`."""
        return sum(f.kl_divergence(g) for f, g in zip(self.factors(), other.factors(), strict=True))


def epsilon_greedy(
    q_values: Array, epsilon: Array | float, mask: Array | None = None
) -> Categorical:
    """Returns the marginal distribution of the epsilon-greedy choice.

    It is (1 - epsilon) greedy + epsilon uniform over the allowed actions. So a log-probability is
    that of the action, whether it was chosen greedily or at random; with epsilon 0 it is exactly 0
    for the greedy action.

    Args:
      q_values: Action values `[..., n]`.
      epsilon: Probability of a random action, a scalar or `[...]`; it may be traced.
      mask: Boolean `[..., n]`, True where an action is allowed. Where it forbids everything, the
        choice is uniform over all n.
    """
    q_values = jnp.asarray(q_values)
    allowed = jnp.broadcast_to(True if mask is None else mask, q_values.shape).astype(bool)
    best = jax.nn.one_hot(
        Categorical(q_values, allowed).mode(), q_values.shape[-1], dtype=jnp.float32
    )
    epsilon = add_axes(jnp.asarray(epsilon)[..., None], q_values.ndim)
    uniform = allowed.astype(jnp.float32) / jnp.maximum(jnp.sum(allowed, axis=-1, keepdims=True), 1)
    probs = (1.0 - epsilon) * best + epsilon * uniform
    support = (probs > 0.0) & allowed
    return Categorical(jnp.log(jnp.where(support, probs, 1.0)), support)
