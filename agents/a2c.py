"""Advantage actor-critic, the synchronous form of A3C (Mnih et al. 2016)."""

import dataclasses

from ..envs.types import Array, Trajectory
from .agent import TrainState
from .examples import Examples
from .on_policy import OnPolicyAgent


@dataclasses.dataclass(frozen=True, eq=False)
class A2cAgent(OnPolicyAgent):
    """Takes one gradient step on each batch of rows.

    The loss is the policy gradient's of `OnPolicyAgent`, whose arguments come first.

    Args:
      lambda_: Decay of the trace of the advantage estimates (Schulman et al. 2016); 1 is the
        paper's n-step return.
    """

    lambda_: float | Array = 1.0

    def prepare(
        self, state: TrainState, experience: Trajectory, *, shards: str | None = None
    ) -> tuple[TrainState, Examples]:
        """Turns rows into examples with advantage estimates; see `OnPolicyAgent.prepare`."""
        state, rows = self.normalized(state, experience, shards)
        return state, self.gae_examples(state.params, rows, self.lambda_)
