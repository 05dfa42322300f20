"""Actors map observations to distributions over actions."""

import math
from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from ..envs.specs import ArraySpec, BoundedSpec, DiscreteSpec, Spec
from ..envs.types import Tree, add_axes, split_action_mask
from .continuous import half_range
from .distributions import Categorical, MultiCategorical, Normal
from .encoders import MLP, Activation, Initializer, encoded

orthogonal = nn.initializers.orthogonal(math.sqrt(2.0))


class ActorNetwork(nn.Module):
    """Maps observations `[..., *shape]` to the distribution that suits the action spec.

    Its batch shape is `[...]`. A `DiscreteSpec` gives `Categorical` or `MultiCategorical`, with the
    mask in the observation if there is one (`split_action_mask`). Continuous actions give `Normal`
    with a standard deviation that does not depend on the observation. If the bounds are finite,
    mean and standard deviation are in units of half the range between them, about its middle.
    (`TanhNormalActor` is for actions squashed to their bounds.)

    Initialisers are those usual for PPO: orthogonal, sqrt(2) for hidden layers and 0.01 for the
    last, so that at first all actions are about equally probable (Andrychowicz et al. 2021).

    Attributes:
      spec: Spec of the action.
      hidden: Sizes of the hidden layers.
      encoder: Module that turns an observation into features first; None for vectors.
      activation: Function after each hidden layer.
      kernel_init: Initialiser of the hidden layers.
      output_kernel_init: Initialiser of the last layer.
      initial_log_std: Logarithm of the standard deviation at the start.
    """

    spec: Spec
    hidden: Sequence[int] = (64, 64)
    encoder: nn.Module | None = None
    activation: Activation = nn.tanh
    kernel_init: Initializer = orthogonal
    output_kernel_init: Initializer = nn.initializers.orthogonal(0.01)
    initial_log_std: float = 0.0

    @nn.compact
    def __call__(self, observation: Tree) -> Categorical | MultiCategorical | Normal:
        inputs, mask = split_action_mask(observation)
        hidden = MLP(self.hidden, self.activation, self.kernel_init)(encoded(self, inputs))
        spec = self.spec
        if isinstance(spec, DiscreteSpec):
            head = nn.Dense(int(np.sum(spec.num_values)), kernel_init=self.output_kernel_init)
            logits = head(hidden)
            if spec.shape:
                return MultiCategorical(logits, spec.num_values, mask)
            return Categorical(logits, mask)
        if not isinstance(spec, ArraySpec) or not np.issubdtype(spec.dtype, np.floating):
            raise ValueError(
                f"ActorNetwork: expected one spec of discrete or floating-point actions, got {spec}"
            )
        loc = nn.Dense(math.prod(spec.shape), kernel_init=self.output_kernel_init)(hidden)
        loc = loc.reshape(*loc.shape[:-1], *spec.shape)
        log_std = self.param(
            "log_std", nn.initializers.constant(self.initial_log_std), spec.shape, jnp.float32
        )
        scale = jnp.broadcast_to(jnp.exp(log_std), loc.shape)
        if not isinstance(spec, BoundedSpec) or not spec.is_finite:
            return Normal(loc, scale, len(spec.shape))
        # 1 where there is nothing to choose
        half = np.where(spec.low < spec.high, half_range(spec), np.float32(1.0))
        middle, half = (
            add_axes(np.float32(x), loc.ndim) for x in (spec.low / 2 + spec.high / 2, half)
        )
        return Normal(middle + half * loc, half * scale, len(spec.shape))
