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

    Steps are environment steps, of all environments together. Updates happen
    `updates_per_iteration` at a time, every `steps_per_iteration` steps.
    """

    num_steps: Count = 150_000
    learning_rate: Positive = 1e-3
    learning_rate_end: NotNegative | None = None  # reached linearly; None: constant
    learning_rate_steps: Count | None = None  # until then; None: from the warm-up to num_steps
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
        """The number of iterations of the loop after the warm-up, in a run of `num_steps`."""
        return max(1, (self.num_steps - self.warmup_steps) // self.steps_per_iteration)

    def updates(self, num_steps: int) -> int:
        """The number of updates in this many environment steps, at least 1."""
        return max(1, num_steps * self.updates_per_iteration // self.steps_per_iteration)

    def learning_rate_schedule(self) -> Any:
        """The learning rate as an optax schedule of the update count; a number if constant."""
        steps = self.learning_rate_steps
        if steps is None:
            steps = self.num_steps - self.warmup_steps
        return linear(self.learning_rate, self.learning_rate_end, self.updates(steps))

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
          ValueError: if steps do not divide among environments, or the warm-up holds no window.
        """
        if self.steps_per_iteration % self.num_envs:
            raise ValueError(
                "config steps_per_iteration: on device, expected a multiple of "
                f"num_envs={self.num_envs}, got {self.steps_per_iteration}"
            )
        return OffPolicyScan(
            agent,
            env,
            num_envs=self.num_envs,
            rows_per_iteration=self.steps_per_iteration // self.num_envs,
            updates_per_iteration=self.updates_per_iteration,
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
