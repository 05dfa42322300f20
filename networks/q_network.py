"""Action values of discrete actions."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from ..envs.types import Array, Tree
from .encoders import MLP, Activation


def _symmetric_uniform(scale: float) -> nn.initializers.Initializer:
    return lambda key, shape, dtype=jnp.float32: jax.random.uniform(key, shape, dtype, -scale, scale)


class QNetwork(nn.Module):
    """Maps observations `[..., *shape]` to the values of the actions, `[..., num_actions]`.

    An optional `encoder` comes first (`ConvEncoder` for images, `DictEncoder` for dicts), then dense layers of the sizes
    `hidden`, then a linear layer. The initialisers are those of the TF-Agents DQN tutorial: He truncated normal for hidden
    layers; uniform in +-0.03 with bias -0.2 for the values.
    """

    num_actions: int
    hidden: Sequence[int] = (100, 50)
    encoder: nn.Module | None = None
    activation: Activation = nn.relu
    kernel_init: nn.initializers.Initializer | None = None
    output_kernel_init: nn.initializers.Initializer = _symmetric_uniform(0.03)
    output_bias_init: nn.initializers.Initializer = nn.initializers.constant(-0.2)

    @nn.compact
    def __call__(self, observation: Tree) -> Array:
        features = observation if self.encoder is None else self.encoder(observation)
        if not hasattr(features, "ndim") or features.ndim == 0:
            raise ValueError(
                f"QNetwork: expected a vector observation [..., size], got {jax.tree.map(jnp.shape, features)}; give it an "
                "encoder (networks.default_encoder(env.specs.observation) chooses one)"
            )
        init = {} if self.kernel_init is None else {"kernel_init": self.kernel_init}
        features = MLP(self.hidden, self.activation, **init)(features.astype(jnp.float32))
        return nn.Dense(self.num_actions, kernel_init=self.output_kernel_init, bias_init=self.output_bias_init)(features)
