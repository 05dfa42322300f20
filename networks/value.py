"""Networks of state values, and pairs of an actor and a value."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn

from ..envs.types import Array, Tree, join_action_mask, split_action_mask
from .actor import orthogonal
from .encoders import MLP, Activation, Initializer, encoded


class ValueNetwork(nn.Module):
    """Maps observations `[..., *shape]` to values `[...]`, without an action mask in them.

    Initialisers are orthogonal: sqrt(2) for hidden layers, 1 for the value.
    """

    hidden: Sequence[int] = (64, 64)
    encoder: nn.Module | None = None
    activation: Activation = nn.tanh
    kernel_init: Initializer = orthogonal

    @nn.compact
    def __call__(self, observation: Tree) -> Array:
        hidden = encoded(self, split_action_mask(observation)[0])
        hidden = MLP(self.hidden, self.activation, self.kernel_init)(hidden)
        return nn.Dense(1, kernel_init=nn.initializers.orthogonal(1.0))(hidden)[..., 0]


class ActorValueNetwork(nn.Module):
    """Maps observations to a distribution over actions and values `[...]`.

    Without a `trunk` the two share nothing. With one (an encoder, an `MLP`) both see its features,
    and the hidden layers of the actor and the value come after it:

        ActorValueNetwork(ActorNetwork(env.specs.action), ValueNetwork())

        actor = ActorNetwork(env.specs.action, hidden=())
        ActorValueNetwork(actor, ValueNetwork(hidden=()), trunk=MLP((64, 64)))
    """

    actor: nn.Module
    value: nn.Module
    trunk: nn.Module | None = None

    def __call__(self, observation: Tree) -> tuple[Any, Array]:
        if self.trunk is None:
            return self.actor(observation), self.value(observation)
        inputs, mask = split_action_mask(observation)
        shared = self.trunk(inputs)
        return self.actor(join_action_mask(shared, mask)), self.value(shared)
