"""Exploration noise on continuous actions."""

import dataclasses

import jax
import jax.numpy as jnp

from ..envs.specs import BoundedSpec
from ..envs.types import Array, PolicyStep, TimeStep, Tree
from ..networks.continuous import clip_to_spec, half_range
from .policy import Policy
from .schedule import Schedule, value_at

_NO_KEY = "{}.action: expected a random key, got None; pass key=jax.random.key(seed), or ask .policy, which needs none"
_NO_DISTRIBUTION = "{}: noisy actions that are clipped have no density; ask for .action(), or for the distribution of .policy"


@dataclasses.dataclass(frozen=True, eq=False)
class GaussianNoisePolicy:
    """The mode of another policy plus normal noise, drawn for every environment and clipped to the
    spec.

    Args:
      policy: a policy over continuous actions.
      spec: the actions'.
      scale: standard deviation in units of half the range of each action; a float, or a schedule of
        the update count. A `"noise_scale"` leaf in the parameters overrides it, so that each actor
        of many can have its own.
    """

    policy: Policy
    spec: BoundedSpec
    scale: float | Schedule = 0.1

    def initial_state(self, batch_shape: tuple[int, ...] = ()) -> Tree:
        return self.policy.initial_state(batch_shape)

    def distribution(self, params: Tree, time_step: TimeStep, state: Tree = ()) -> PolicyStep:
        raise NotImplementedError(_NO_DISTRIBUTION.format("GaussianNoisePolicy"))

    def action(
        self, params: Tree, time_step: TimeStep, state: Tree = (), key: Array | None = None
    ) -> PolicyStep:
        step = self.policy.distribution(params, time_step, state)
        mode = step.action.mode()
        if key is None:
            raise ValueError(_NO_KEY.format(type(self).__name__))
        scale = (
            params["noise_scale"]
            if "noise_scale" in params
            else value_at(self.scale, params["step"])
        )
        noise = scale * half_range(self.spec) * jax.random.normal(key, mode.shape)
        return step._replace(action=clip_to_spec(mode + noise, self.spec))


@dataclasses.dataclass(frozen=True, eq=False)
class OrnsteinUhlenbeckPolicy:
    """The mode of another policy plus noise that persists: x <- (1 - damping) x + N(0, scale)
    (Lillicrap et al. 2016).

    The noise is a part of the policy's state, apart for every environment, and starts from 0 in
    every episode. Its standard deviation tends to scale / sqrt(1 - (1 - damping)^2).

    Args:
      policy: a policy over continuous actions.
      spec: the actions'; noisy ones are clipped to it.
      scale: standard deviation of one step's draw in units of half the range; a float, or a
        schedule of the update count.
      damping: the paper's theta; 1 forgets at once.
    """

    policy: Policy
    spec: BoundedSpec
    scale: float | Schedule = 0.2
    damping: float = 0.15

    def initial_state(self, batch_shape: tuple[int, ...] = ()) -> Tree:
        return self.policy.initial_state(batch_shape), jnp.zeros(
            (*batch_shape, *self.spec.shape), jnp.float32
        )

    def distribution(self, params: Tree, time_step: TimeStep, state: Tree = ()) -> PolicyStep:
        raise NotImplementedError(_NO_DISTRIBUTION.format("OrnsteinUhlenbeckPolicy"))

    def action(
        self, params: Tree, time_step: TimeStep, state: Tree = (), key: Array | None = None
    ) -> PolicyStep:
        inner, noise = state
        step = self.policy.distribution(params, time_step, inner)
        mode = step.action.mode()
        if key is None:
            raise ValueError(_NO_KEY.format(type(self).__name__))
        first = jnp.reshape(
            time_step.is_first(), jnp.shape(time_step.step_type) + (1,) * len(self.spec.shape)
        )
        draw = value_at(self.scale, params["step"]) * jax.random.normal(key, mode.shape)
        noise = jnp.where(first, 0.0, (1.0 - self.damping) * noise) + draw
        return step._replace(
            action=clip_to_spec(mode + half_range(self.spec) * noise, self.spec),
            state=(step.state, noise),
        )
