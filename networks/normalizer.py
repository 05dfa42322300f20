"""Running mean and variance of trees of arrays, to normalise observations and rewards with."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from ..envs.preprocessing import image_axes
from ..envs.specs import DiscreteSpec, Spec
from ..envs.types import Array, Tree, add_axes


@struct.dataclass
class RunningStatistics:
    """The mean and the population variance of all values so far, float32 trees.

    `count` (float32) is their number. With a count of 0 the mean is 0 and the variance 1, so that
    `normalize` changes nothing before the first update. Masks and other booleans, discrete values
    and images of integers are never changed: their statistics are of size 0.
    """

    count: Array
    mean: Tree
    variance: Tree


def init_statistics(spec: Tree) -> RunningStatistics:
    """Returns the statistics of no values, for values that meet `spec`."""
    shape = lambda s: s.shape if _is_feature(s) else (0,)
    zeros = jax.tree.map(lambda s: jnp.zeros(shape(s), jnp.float32), spec)
    return RunningStatistics(jnp.zeros((), jnp.float32), zeros, jax.tree.map(jnp.ones_like, zeros))


def update_statistics(
    statistics: RunningStatistics,
    values: Tree,
    weights: Array | None = None,
    axis_name: str | None = None,
) -> RunningStatistics:
    """Merges the statistics of a batch in, as exactly as if all values came at once.

    The formula is that of Chan, Golub and LeVeque 1979. There is no prior count, so that after the
    first batch the statistics are that batch's own.

    Args:
      statistics: Statistics of the values before.
      values: Values, a tree of arrays `[..., *spec.shape]`.
      weights: Weights `[...]`, 0 for values to leave out and 1 for others; None counts all.
      axis_name: Name of a mapped axis of devices whose batches are merged too.
    """
    means = jax.tree.leaves(statistics.mean)
    leaves = list(zip(means, jax.tree.leaves(values), strict=True))
    batch_ndim = next((x.ndim - m.ndim for m, x in leaves if _is_kept(m)), 0)
    shape = jnp.shape(leaves[0][1])[:batch_ndim]
    axes = tuple(range(batch_ndim))
    weights = jnp.ones(shape, jnp.float32) if weights is None else weights
    weights = jnp.asarray(weights, jnp.float32)
    count = _all_devices(jnp.sum(weights), axis_name)

    def moments(mean: Array, x: Array) -> tuple[Array, Array]:
        if not _is_kept(mean):
            return mean, mean
        weight = weights.reshape(shape + (1,) * mean.ndim)
        x = jnp.where(weight > 0, _as_float(x), 0.0)  # what is left out may be anything
        batch_mean = _all_devices(jnp.sum(weight * x, axes), axis_name) / jnp.maximum(count, 1.0)
        squares = _all_devices(
            jnp.sum(weight * jnp.square(x - add_axes(batch_mean, x.ndim)), axes), axis_name
        )
        return batch_mean, squares / jnp.maximum(count, 1.0)

    pairs = [moments(*leaf) for leaf in leaves]
    treedef: Any = jax.tree.structure(statistics.mean)
    batch = RunningStatistics(
        count, treedef.unflatten(p[0] for p in pairs), treedef.unflatten(p[1] for p in pairs)
    )
    return merge_statistics(jax.tree.map(lambda *x: jnp.stack(x), statistics, batch))


def merge_statistics(statistics: RunningStatistics) -> RunningStatistics:
    """Merges n statistics into one, exactly: that of the values of all of them.

    Args:
      statistics: The n statistics as one with leaves `[n, ...]`.
    """
    total = jnp.sum(statistics.count)
    shares = statistics.count / jnp.maximum(total, 1.0)
    average = lambda x: jnp.tensordot(shares, x, axes=1)

    def selected(x: Array) -> Array:
        """What statistics of no values say does not count, whatever it is."""
        return jnp.where((shares > 0).reshape(shares.shape + (1,) * (x.ndim - 1)), x, 0.0)

    def variance(means: Array, variances: Array) -> Array:
        merged = average(variances + jnp.square(means - average(means)[None]))
        return jnp.where(total > 0, merged, 1.0)

    means, variances = jax.tree.map(selected, (statistics.mean, statistics.variance))
    return RunningStatistics(
        total, jax.tree.map(average, means), jax.tree.map(variance, means, variances)
    )


def normalize(statistics: RunningStatistics, values: Tree, clip: float = 10.0) -> Tree:
    """Returns (x - mean) / standard deviation, clipped to -clip .. clip, for any leading axes.

    Integers become floats. Leaves without statistics stay as they are.
    """

    def each(mean: Array, variance: Array, x: Array) -> Array:
        if not _is_kept(mean):
            return x
        x = _as_float(x)
        mean, scale = (add_axes(s, x.ndim) for s in (mean, jax.lax.rsqrt(variance + 1e-8)))
        return jnp.clip((x - mean) * scale, -clip, clip)

    return jax.tree.map(each, statistics.mean, statistics.variance, values)


def normalize_observation(params: Mapping[str, Tree], observation: Tree) -> Tree:
    """Returns the observation as a policy's network sees it.

    It is normalised if the policy's parameters have `"observation_statistics"`.
    """
    if "observation_statistics" not in params:
        return observation
    return normalize(params["observation_statistics"], observation)


def _is_feature(spec: Spec) -> bool:
    """True for floats, and for integers that are numbers, not choices or pixels."""
    if isinstance(spec, DiscreteSpec) or not jnp.issubdtype(spec.dtype, jnp.number):
        return False
    floating = jnp.issubdtype(spec.dtype, jnp.floating)
    return floating or image_axes(spec.shape, spec.dtype) is None


def _is_kept(mean: Array) -> bool:
    """True where there are statistics of a leaf."""
    return mean.shape != (0,)


def _as_float(x: Any) -> Array:
    return jnp.asarray(x, jnp.float32)


def _all_devices(x: Array, axis_name: str | None) -> Array:
    return x if axis_name is None else jax.lax.psum(x, axis_name)
