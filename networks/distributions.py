"""Distributions over actions: small pytrees with `sample`, `log_prob`, `entropy`, `mode` and `kl_divergence`.

Batch shapes are any; one key draws a whole batch. All of them may be returned from `jit`, mapped by `vmap` and carried
through `scan`: what is not an array is a static field.
"""

import jax
import jax.numpy as jnp
from flax import struct

from ..envs.types import Array

_FORBIDDEN = -1e30  # its probability is exactly 0; finite, so that differences and gradients are not NaN


@struct.dataclass
class Categorical:
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

    def sample_and_log_prob(self, key: Array) -> tuple[Array, Array]:
        """Draws actions and their log-probabilities, both `[...]`."""
        action = self.sample(key)
        return action, self.log_prob(action)

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


def epsilon_greedy(q_values: Array, epsilon: Array | float, mask: Array | None = None) -> Categorical:
    """The marginal distribution of the epsilon-greedy choice: (1 - epsilon) greedy + epsilon uniform over allowed actions.

    Its log-probability is that of the action, however it came about; with epsilon 0 it is exactly 0 for the greedy action.

    Args:
      q_values: `[..., n]`.
      epsilon: in [0, 1]; a scalar or `[...]`, traced or not.
      mask: boolean `[..., n]`, True where allowed. Where it forbids everything, the choice is uniform over all n.
    """
    q_values = jnp.asarray(q_values)
    allowed = jnp.ones(q_values.shape, bool) if mask is None else jnp.broadcast_to(mask, q_values.shape)
    best = jax.nn.one_hot(Categorical(q_values, allowed).mode(), q_values.shape[-1])
    epsilon = jnp.asarray(epsilon)[..., None]
    uniform = allowed / jnp.maximum(jnp.sum(allowed, axis=-1, keepdims=True), 1)
    probs = (1.0 - epsilon) * best + epsilon * uniform
    support = (probs > 0.0) & allowed
    return Categorical(jnp.log(jnp.where(support, probs, 1.0)), support)
