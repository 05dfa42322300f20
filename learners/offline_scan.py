"""Training on device from a fixed data set: a pure function of a key, as `OffPolicyScan` is,
without acting.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from ..agents.agent import Agent, TrainState
from ..envs.types import Array, Trajectory
from .off_policy_scan import iterations_per_report


@struct.dataclass
class OfflineState:
    """Everything that changes in the loop: the agent's state, the key of the draws, and the number
    of iterations (int32).
    """

    train: TrainState
    key: Array
    iteration: Array


@dataclasses.dataclass(frozen=True, eq=False)
class OfflineScan:
    """An agent, a data set, and the environment to evaluate in. One iteration is an update on a
    batch drawn with replacement.

    Args:
      agent: any agent that learns from replayed windows.
      env: a JAX environment, which is not stepped here.
      rows: the data set's windows `[N, T, ...]`, of the agent's `train_sequence_length` T where it
        has one; check them first with `agents.bc.check_dataset`.
      batch_size: windows in a batch.

    Raises:
      ValueError: if the rows have no axes `[N, T]`, or batch_size < 1.
    """

    agent: Agent
    env: Any
    rows: Trajectory
    _: dataclasses.KW_ONLY
    batch_size: int = 256

    def __post_init__(self):
        shape = jnp.shape(self.rows.step_type)
        if len(shape) != 2 or shape[0] < 1 or self.batch_size < 1:
            raise ValueError(
                f"Offline: expected rows [N, T] and batch_size >= 1, got {list(shape)} and "
                f"{self.batch_size}"
            )

    def init(self, key: Array) -> OfflineState:
        """A fresh agent."""
        train_key, key = jax.random.split(key)
        return OfflineState(self.agent.init(train_key), key, jnp.zeros((), jnp.int32))

    def run(
        self, state: OfflineState, num_iterations: int, num_reports: int = 1
    ) -> tuple[OfflineState, dict[str, Array]]:
        """Runs iterations; N and then M of them are exactly N + M. Metrics `[num_reports]` are
        means over equal parts.

        Raises:
          ValueError: if `num_reports` does not divide `num_iterations`.
        """
        part = iterations_per_report(num_iterations, num_reports)

        def update(state: OfflineState, _: None) -> tuple[OfflineState, dict[str, Array]]:
            key = jax.random.fold_in(state.key, state.iteration)
            index = jax.random.randint(key, (self.batch_size,), 0, self.rows.step_type.shape[0])
            train, info = self.agent.train(state.train, jax.tree.map(lambda x: x[index], self.rows))
            return OfflineState(train, state.key, state.iteration + 1), info.metrics

        def report(state: OfflineState, _: None) -> tuple[OfflineState, dict[str, Array]]:
            state, metrics = jax.lax.scan(update, state, length=part)
            return state, jax.tree.map(lambda x: x.mean(axis=0), metrics)

        return jax.lax.scan(report, state, length=num_reports)
