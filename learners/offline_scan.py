"""The loop over a fixed data set on device, which does not act."""

import dataclasses

import jax
import jax.numpy as jnp

from ..agents.agent import Agent
from ..envs.environment import Environment, JaxEnvironment
from ..envs.types import Array, Trajectory
from ..replay.streams import check_windows
from .scan import Scan, ScanState


@dataclasses.dataclass(frozen=True, eq=False)
class OfflineScan(Scan[ScanState]):
    """An agent, a data set, and the environment to evaluate in.

    One iteration is an update on a batch that is drawn with replacement. No environment is stepped:
    `num_steps` stays 0.

    Args:
      agent: Agent that learns from replayed windows.
      env: Environment to evaluate in, which is not stepped here; None where there is none.
      rows: Windows of the data set `[N, T, ...]`, of the agent's `train_sequence_length` T where it
        has one; check them first with `agents.bc.check_dataset`.
      batch_size: Number of windows in a batch.

    Raises:
      ValueError: if the rows have no axes `[N, T]`, the boundary rows between their episodes are
        missing and the agent learns from windows, or `batch_size` is less than 1.
    """

    agent: Agent
    env: JaxEnvironment | Environment | None
    rows: Trajectory
    _: dataclasses.KW_ONLY
    batch_size: int = 256

    def __post_init__(self):
        shape = jnp.shape(self.rows.step_type)
        if len(shape) != 2 or shape[0] < 1:
            raise ValueError(f"OfflineScan: expected rows [N, T] with N >= 1, got {list(shape)}")
        known = not isinstance(self.rows.step_type, jax.core.Tracer)
        if known and self.agent.train_sequence_length is not None:
            check_windows(self.rows.step_type, self.rows.next_step_type)
        self._check_at_least(1, "batch_size")

    def init(self, key: Array) -> ScanState:
        """Returns the state with a fresh agent."""
        train_key, key = jax.random.split(key)
        zero = jnp.zeros((), jnp.int32)
        return ScanState(self.agent.init(train_key), key, iteration=zero, num_steps=zero)

    def iteration(self, state: ScanState) -> tuple[ScanState, dict[str, Array]]:
        """Trains on one batch."""
        key = jax.random.fold_in(state.key, state.iteration)
        num_windows = self.rows.step_type.shape[0]
        index = jax.random.randint(key, (self.batch_size,), 0, num_windows, jnp.int32)
        train, info = self.agent.train(state.train, jax.tree.map(lambda x: x[index], self.rows))
        return dataclasses.replace(state, train=train, iteration=state.iteration + 1), info.metrics
