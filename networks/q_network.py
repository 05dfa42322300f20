"""Networks of the values of discrete actions."""

from collections.abc import Sequence

import flax.linen as nn

from ..envs.types import Array, Tree
from .encoders import MLP, Activation, Initializer, encoded, he_truncated_normal, uniform_within
from .noisy import NoisyDense


class QNetwork(nn.Module):
    """Maps observations `[..., *shape]` to the values of the A actions, `[..., A]`.

    With K atoms for each action, the outputs are `[..., A, K]`. An optional `encoder` comes first
    (`ConvEncoder` for images, `DictEncoder` for dicts), then dense layers of the sizes `hidden`,
    then the head: dense layers of the sizes `head_hidden` and a linear one. The initialisers are
    those of the TF-Agents DQN tutorial: He truncated normal for hidden layers; uniform in +-0.03
    with bias -0.2 for the values.

    Applied with `mutable="intermediates"` it returns its parts too: the `features` that the heads
    see and, if it is dueling, `state_value` `[..., 1]` (with atoms `[..., 1, K]`) and `advantages`,
    of the shape of the values.

    Args:
      num_actions: Number A of actions.
      hidden: Sizes of the dense layers that the heads share.
      encoder: Module that encodes observations that are not vectors.
      activation: Function after each hidden layer.
      kernel_init: Initialiser of the hidden layers; None for He truncated normal, or for that of
        `NoisyDense` in noisy layers.
      output_kernel_init: Initialiser of the linear layers' kernels.
      output_bias_init: Initialiser of the linear layers' biases.
      head_hidden: Sizes of the dense layers of each head.
      dueling: True for two heads, the value V of the state and the advantages of the actions, whose
        sum is V + A - mean of A over actions (Wang et al. 2016, eq. 9); with atoms, for each atom
        (Hessel et al. 2018).
      num_atoms: Number K of logits (C51) or quantiles (QR-DQN) for each action; None for values.
      noisy_sigma: Initial sigma of `NoisyDense` for all dense layers (0.5 in the paper); None for
        plain layers.
    """

    num_actions: int
    hidden: Sequence[int] = (100, 50)
    encoder: nn.Module | None = None
    activation: Activation = nn.relu
    kernel_init: Initializer | None = None
    output_kernel_init: Initializer = uniform_within(0.03)
    output_bias_init: Initializer = nn.initializers.constant(-0.2)
    head_hidden: Sequence[int] = ()
    dueling: bool = False
    num_atoms: int | None = None
    noisy_sigma: float | None = None

    @nn.compact
    def __call__(self, observation: Tree) -> Array:
        features = self._dense_layers(self.hidden, encoded(self, observation))
        values = self._head(features, self.num_actions)
        if self.dueling:
            value = self._head(features, 1)
            self.sow("intermediates", "advantages", values)
            self.sow("intermediates", "state_value", value)
            values = value + values - values.mean(axis=features.ndim - 1, keepdims=True)
        self.sow("intermediates", "features", features)
        return values

    def _head(self, features: Array, num_outputs: int) -> Array:
        """Returns `[..., num_outputs]`, or `[..., num_outputs, num_atoms]`."""
        hidden = self._dense_layers(self.head_hidden, features)
        size = num_outputs * (self.num_atoms or 1)
        layer: nn.Module
        if self.noisy_sigma is None:
            layer = nn.Dense(
                size, kernel_init=self.output_kernel_init, bias_init=self.output_bias_init
            )
        else:
            layer = NoisyDense(
                size,
                self.noisy_sigma,
                kernel_init=self.output_kernel_init,
                bias_init=self.output_bias_init,
            )
        outputs = layer(hidden)
        if self.num_atoms is None:
            return outputs
        return outputs.reshape(*features.shape[:-1], num_outputs, self.num_atoms)

    def _dense_layers(self, sizes: Sequence[int], features: Array) -> Array:
        if not sizes:
            return features
        if self.noisy_sigma is None:
            return MLP(sizes, self.activation, self.kernel_init or he_truncated_normal)(features)
        for size in sizes:
            features = self.activation(
                NoisyDense(size, self.noisy_sigma, self.kernel_init)(features)
            )
        return features
