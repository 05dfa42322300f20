"""The base of policies that change how another policy acts."""

import dataclasses

from ..envs.types import PolicyStep, TimeStep, Tree
from .policy import Policy


@dataclasses.dataclass(frozen=True, eq=False)
class PolicyWrapper:
    """Another policy, from which the initial state and the distribution are taken.

    A subclass defines `action`.

    Args:
      policy: Policy that is wrapped.
    """

    policy: Policy

    def initial_state(self, batch_shape: tuple[int, ...] = ()) -> Tree:
        """The initial state of the wrapped policy."""
        return self.policy.initial_state(batch_shape)

    def distribution(self, params: Tree, time_step: TimeStep, state: Tree = ()) -> PolicyStep:
        """The distribution of the wrapped policy."""
        return self.policy.distribution(params, time_step, state)
