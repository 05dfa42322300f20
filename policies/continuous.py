"""Exploration noise on continuous actions."""

import dataclasses

import jax
import jax.numpy as jnp

from ..envs.specs import BoundedSpec
from ..envs.types import Array, PolicyStep, TimeStep, Tree, add_axes
from ..networks.continuous import clip_to_spec, half_range
from .schedule import Schedule, value_in
from .wrapper import PolicyWrapper


@dataclasses.dataclass(frozen=True, eq=False)
class _NoisyModePolicy(PolicyWrapper):
    spec: BoundedSpec

    def distribution(self, params: Tree, time_step: TimeStep, state: Tree = ()) -> PolicyStep:
        """Raises a NotImplementedError: noisy actions that are clipped have no density."""
        raise NotImplementedError(
            f"{type(self).__name__}: noisy actions that are clipped have no density; ask for "
            ".action(), or for the distribution of .policy"
        )

    def _normal(self, key: Array | None, shape: tuple[int, ...]) -> Array:
        if key is None:
            raise ValueError(
                f"{type(self).__name__}.action: expected a random key, got None; pass "
                "key=jax.random.key(seed), or ask .policy, which needs none"
            )
        return jax.random.normal(key, shape, jnp.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class GaussianNoisePolicy(_NoisyModePolicy):
    """The mode of another policy plus normal noise, clipped to the bounds.

    The noise is drawn for every environment by itself.

    Args:
      policy: Policy over continuous actions.
      spec: Spec of the actions.
      scale: Standard deviation in units of half the range of each action; a float, or a schedule of
        the update count. An entry `"noise_scale"` of the parameters overrides it, so that each
        actor of many can have its own.
    """

    scale: float | Schedule = 0.1

    def action(
        self, params: Tree, time_step: TimeStep, state: Tree = (), key: Array | None = None
    ) -> PolicyStep:
        """The mode plus noise.

        Raises:
          ValueError: without a key.
        """
        step = self.policy.distribution(params, time_step, state)
        mode = step.action.mode()
        scale = value_in(params, "noise_scale", self.scale)
        noise = scale * add_axes(half_range(self.spec), mode.ndim) * self._normal(key, mode.shape)
        return step._replace(action=clip_to_spec(mode + noise, self.spec))


@dataclasses.dataclass(frozen=True, eq=False)
class OrnsteinUhlenbeckPolicy(_NoisyModePolicy):
    """The mode of another policy plus noise x that persists (Lillicrap et al. 2016).

    In each step x <- (1 - damping) x + N(0, scale). The noise is a part of the policy's state, each
    environment's by itself, and starts from 0 in every episode. Its standard deviation tends to
    scale / sqrt(1 - (1 - damping)^2).

    Args:
      policy: Policy over continuous actions.
      spec: Spec of the actions, whose bounds noisy ones are clipped to.
      scale: Standard deviation of one step's draw in units of half the range; a float, or a
        schedule of the update count. An entry `"noise_scale"` of the parameters overrides it.
      damping: The paper's theta; 1 forgets at once.
    """

    scale: float | Schedule = 0.2
    damping: float = 0.15

    def initial_state(self, batch_shape: tuple[int, ...] = ()) -> Tree:
        """The initial state of the wrapped policy, and no noise."""
        noise = jnp.zeros((*batch_shape, *self.spec.shape), jnp.float32)
        return self.policy.initial_state(batch_shape), noise

    def action(
        self, params: Tree, time_step: TimeStep, state: Tree = (), key: Array | None = None
    ) -> PolicyStep:
        """The mode plus noise, which the next state keeps.

        Raises:
          ValueError: without a key.
        """
        inner, noise = state
        step = self.policy.distribution(params, time_step, inner)
        mode = step.action.mode()
        scale = value_in(params, "noise_scale", self.scale)
        draw = scale * self._normal(key, mode.shape)
        unit = add_axes(half_range(self.spec), mode.ndim)
        axes = tuple(range(-len(self.spec.shape), 0))
        first = jnp.expand_dims(time_step.is_first(), axes)
        noise = jnp.where(first, 0.0, (1.0 - self.damping) * noise) + draw
        noise = noise.astype(jnp.float32)
        action = clip_to_spec(mode + unit * noise, self.spec)
        return step._replace(action=action, state=(step.state, noise))
