"""The base of the configurations of agents that learn from replay."""

import dataclasses
import math
from typing import Any, Self

import jax
import optax

from ...agents.agent import Agent
from ...envs.environment import Environment, JaxEnvironment
from ...learners import OffPolicyLoop, OffPolicyScan
from ...replay.replay import Replay
from .base import Config, Observers, clipped, linear
from .checking import Count, Fraction, NotNegative, Positive


@dataclasses.dataclass(frozen=True, kw_only=True)
class OffPolicyConfig(Config):
    """The settings that agents share which learn from replay.

    Steps are environment steps, of all environments together. Every `steps_per_iteration` steps
    after the warm-up bring `updates_per_iteration` updates, with every runner.
    """

    num_steps: Count = 150_000
    learning_rate: Positive = 1e-3
    learning_rate_end: NotNegative | None = None  # reached linearly; None: constant
    learning_rate_steps: Count | None = None  # after the warm-up; None: from it to num_steps
    optimizer_eps: Positive = 1e-8
    max_grad_norm: Positive | None = None  # None: gradients are not clipped
    gamma: Fraction = 0.99
    n_step: Count = 1
    batch_size: Count = 128
    steps_per_iteration: Count = 1
    updates_per_iteration: Count = 1
    replay_capacity: Count = 100_000  # rows
    warmup_steps: Count = 1_000  # of uniformly random actions, before the first update
    priority_exponent: Positive | None = None  # None: uniform replay; a number: prioritised
    importance_exponent: NotNegative = 0.4
    num_envs: Count = 1  # in parallel
    steps_per_report: Count = 1_000

    @property
    def num_iterations(self) -> int:
        """The number of iterations of the loop on device after the warm-up, if all rows are steps.

        It is for a run of `num_steps`.
        """
        rows = self.num_envs * self._rows_per_iteration
        return max(1, (self.num_steps - self.warmup_steps) // rows)

    @property
    def _rows_per_iteration(self) -> int:
        """The number of rows of an iteration on device, in each environment."""
        return max(1, self.steps_per_iteration // self.num_envs)

    def updates(self, num_steps: int) -> int:
        """The number of updates in this many environment steps, at least 1."""
        return max(1, num_steps * self.updates_per_iteration // self.steps_per_iteration)

    def learning_rate_schedule(self) -> Any:
        """The learning rate as an optax schedule of the update count; a number if constant."""
        steps = self.learning_rate_steps
        if steps is None:
            steps = self.num_steps - self.warmup_steps
        return linear(self.learning_rate, self.learning_rate_end, self.updates(steps))

    @property
    def learns_until(self) -> int | None:
        """The number of steps at which the learning rate has fallen to 0; None if it does not."""
        steps = self.learning_rate_steps
        if self.learning_rate_end != 0 or steps is None:
            return super().learns_until
        return self.warmup_steps + steps

    def optimizer(self) -> optax.GradientTransformation:
        """Adam, with the schedule of the learning rate."""
        adam = optax.adam(self.learning_rate_schedule(), eps=self.optimizer_eps)
        return clipped(self.max_grad_norm, adam)

    def vectorized(self, num_envs: int = 8) -> Self:
        """The configuration with `num_envs` environments at once, if it has only one.

        Updates keep their proportion to steps.
        """
        if self.num_envs > 1:
            return self
        factor = -(-num_envs // self.steps_per_iteration)
        return dataclasses.replace(
            self,
            num_envs=num_envs,
            steps_per_iteration=factor * self.steps_per_iteration,
            updates_per_iteration=factor * self.updates_per_iteration,
        )

    def loop(self, agent: Agent, env: JaxEnvironment) -> OffPolicyScan:
        """The loop on device, with its replay buffer.

        Raises:
          ValueError: if the warm-up holds no window.
        """
        return OffPolicyScan(
            agent,
            env,
            num_envs=self.num_envs,
            rows_per_iteration=self._rows_per_iteration,
            updates_per_iteration=self.updates_per_iteration,
            steps_per_iteration=self.steps_per_iteration,
            batch_size=self.batch_size,
            capacity=self.replay_capacity,
            warmup_rows=math.ceil(self.warmup_steps / self.num_envs),
            priority_exponent=self.priority_exponent,
            importance_exponent=self.importance_exponent,
        )

    def host_loop(
        self,
        agent: Agent,
        env: Environment,
        buffer: Replay,
        *,
        key: jax.Array,
        seed: int,
        observers: Observers = (),
    ) -> OffPolicyLoop:
        """The Python loop over a host environment; the arguments are those of `OffPolicyLoop`.

        Raises:
          ValueError: if the warm-up is too short for one window.
        """
        rows = self.warmup_steps // self.num_envs
        length = agent.train_sequence_length or 2
        if rows < length:
            raise ValueError(
                f"config warmup_steps={self.warmup_steps}: {rows} rows in each of {self.num_envs} "
                f"environments hold no window of {length} rows, which the agent learns from "
                "(n_step + 1, or sequence_length); raise warmup_steps"
            )
        return OffPolicyLoop(
            agent,
            env,
            buffer,
            batch_size=self.batch_size,
            steps_per_iteration=self.steps_per_iteration,
            updates_per_iteration=self.updates_per_iteration,
            importance_exponent=self.importance_exponent,
            observers=observers,
            key=key,
            seed=seed,
        )
