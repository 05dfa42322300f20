"""Random permutations in linear time: without the sort of `jax.random.permutation`."""

import jax
import jax.numpy as jnp

from ..envs.types import Array

_ROUNDS = 24  # the paper's; fewer than 12 leave traces that a chi-squared test finds


def permutation(key: Array, size: int) -> Array:
    """A random permutation of 0 .. size - 1, int32 `[size]`, from a typed key.

    Each number is enciphered by a Feistel network of random round keys, which is one to one on 0 ..
    2^n - 1, and again for as long as the result is not below `size` (Mitchell et al. 2022,
    Bandwidth-Optimal Random Shuffling for GPUs). Sorting random numbers instead was 18 % of PPO's
    time on a CPU, with batches of 32,768 examples.

    Raises:
      ValueError: if the size is less than 1.
    """
    if size < 1:
        raise ValueError(f"permutation: expected a size of at least 1, got {size}")
    bits = max((size - 1).bit_length(), 2)
    round_keys = jax.random.bits(key, (_ROUNDS,), jnp.uint32)

    def encipher(x: Array) -> Array:
        # widths of the halves, which change places in every round
        high, low = (
            bits - bits // 2,
            bits // 2,
        )
        left, right = x >> low, x & ((1 << low) - 1)
        for i in range(_ROUNDS):
            left, right = right, left ^ (_scramble(right ^ round_keys[i]) >> (32 - high))
            high, low = low, high
        return (left << low) | right

    x = encipher(jnp.arange(size, dtype=jnp.uint32))
    if size < 1 << bits:
        outside = lambda x: jnp.any(x >= size)
        x = jax.lax.while_loop(outside, lambda x: jnp.where(x >= size, encipher(x), x), x)
    return x.astype(jnp.int32)


def _scramble(x: Array) -> Array:
    """Every bit of the result depends on every bit of x (the last steps of MurmurHash3)."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)
