"""Actors of continuous actions within bounds; actions are scaled and clipped to their spec here."""

import math
from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from ..envs.specs import BoundedSpec, Spec
from ..envs.types import Array, Tree, add_axes
from .distributions import Deterministic, TanhNormal
from .encoders import MLP, Activation, Initializer, encoded, he_truncated_normal, uniform_within


def half_range(spec: BoundedSpec) -> np.ndarray:
    """Returns half the distance between the bounds, the unit of exploration noise.

    It has the spec's shape.
    """
    return spec.high / 2 - spec.low / 2  # not (high - low) / 2, which may be infinite


def scale_to_spec(unit: Array, spec: BoundedSpec) -> Array:
    """Scales numbers in -1..1 to actions `[..., *shape]` within the spec's bounds."""
    middle, half = (
        add_axes(x, jnp.ndim(unit)) for x in (spec.low / 2 + spec.high / 2, half_range(spec))
    )
    return clip_to_spec(middle + half * unit, spec)


def clip_to_spec(action: Array, spec: Spec) -> Array:
    """Moves actions `[..., *shape]` outside the spec's bounds to the nearest bound.

    They come out in the spec's dtype. A spec without bounds changes nothing else.
    """
    if isinstance(spec, BoundedSpec):
        low, high = (add_axes(x, jnp.ndim(action)) for x in (spec.low, spec.high))
        action = jnp.clip(action, low, high)
    return jnp.asarray(action).astype(spec.dtype)


def check_continuous(owner: str, spec: Spec, instead: str) -> None:
    """Checks that a spec is one floating-point `BoundedSpec` with finite bounds.

    Args:
      owner: Name of the class that needs it, for the message.
      spec: Spec to check.
      instead: Advice for other specs, for the message.

    Raises:
      ValueError: if it is not.
    """
    if not isinstance(spec, BoundedSpec) or not np.issubdtype(spec.dtype, np.floating):
        raise ValueError(
            f"{owner}: expected one continuous action (a BoundedSpec of floats), got {spec}; "
            f"{instead}"
        )
    if not spec.is_finite or (spec.low >= spec.high).any():
        raise ValueError(
            f"{owner}: expected finite bounds with minimum < maximum, got "
            f"{spec.minimum}..{spec.maximum}; give the environment an action space that has them "
            "(gymnasium.wrappers.TransformAction), or use PPO, which needs none"
        )


class DeterministicActor(nn.Module):
    """Maps observations `[..., *shape]` to `Deterministic` actions `[..., *action_shape]`.

    An optional `encoder` comes first, then dense layers of the sizes `hidden`, then a tanh that is
    scaled to the bounds. The last layer starts within +-3e-3, so that the first actions are in the
    middle of the range, where tanh has a slope (Lillicrap et al. 2016, section 7).

    Raises:
      ValueError: on use, if the spec is not continuous with finite bounds, or the features are not
        a vector.
    """

    spec: BoundedSpec
    hidden: Sequence[int] = (256, 256)
    encoder: nn.Module | None = None
    activation: Activation = nn.relu
    kernel_init: Initializer = he_truncated_normal

    @nn.compact
    def __call__(self, observation: Tree) -> Deterministic:
        check_continuous("DeterministicActor", self.spec, "for discrete actions use QNetwork")
        features = encoded(self, observation)
        hidden = MLP(self.hidden, self.activation, self.kernel_init)(features)
        unit = jnp.tanh(
            nn.Dense(math.prod(self.spec.shape), kernel_init=uniform_within(3e-3))(hidden)
        )
        unit = unit.reshape(*features.shape[:-1], *self.spec.shape)
        return Deterministic(scale_to_spec(unit, self.spec), len(self.spec.shape))


class TanhNormalActor(nn.Module):
    """Maps observations `[..., *shape]` to a `TanhNormal` over actions, as SAC needs it.

    Actions are `[..., *action_shape]`; means and standard deviations depend on the observation. The
    logarithm of the standard deviation before the tanh, where half the range is 1, is clipped to
    `log_std_bounds` (by default those of the authors' code: Haarnoja et al. 2018b).

    Raises:
      ValueError: on use, if the spec is not continuous with finite bounds, or the features are not
        a vector.
    """

    spec: BoundedSpec
    hidden: Sequence[int] = (256, 256)
    encoder: nn.Module | None = None
    activation: Activation = nn.relu
    log_std_bounds: tuple[float, float] = (-20.0, 2.0)
    kernel_init: Initializer = he_truncated_normal

    @nn.compact
    def __call__(self, observation: Tree) -> TanhNormal:
        check_continuous(
            "TanhNormalActor", self.spec, "for discrete actions use a QNetwork of logits"
        )
        features = encoded(self, observation)
        hidden = MLP(self.hidden, self.activation, self.kernel_init)(features)
        outputs = nn.Dense(2 * math.prod(self.spec.shape))(hidden)
        loc, log_std = (
            x.reshape(*features.shape[:-1], *self.spec.shape)
            for x in jnp.split(outputs, 2, axis=-1)
        )
        scale = jnp.exp(jnp.clip(log_std, *self.log_std_bounds))
        return TanhNormal(loc, scale, self.spec.minimum, self.spec.maximum, len(self.spec.shape))
