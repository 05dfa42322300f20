"""DQN as an experiment: its configuration, on a page, and the agent that it describes."""

import dataclasses
from typing import Any, Literal

import optax

from ..agents import DqnAgent, losses, periodic
from ..envs.specs import EnvironmentSpecs
from ..networks import QNetwork, default_encoder


@dataclasses.dataclass(frozen=True)
class DqnConfig:
    """What `jax-agents train --run DQN` can be told; the defaults solve CartPole-v1 in a minute or two.

    Steps are environment steps. Updates happen `updates_per_iteration` at a time, every `steps_per_iteration` steps.
    """

    num_steps: int = 150_000  # environment steps to train for, unless a stop is given
    hidden: tuple[int, ...] = (120, 84)
    learning_rate: float = 5e-4
    learning_rate_end: float | None = 1e-5  # reached linearly at num_steps; None: constant
    gamma: float = 0.99
    n_step: int = 1
    double: bool = False
    td_loss: Literal["huber", "squared"] = "squared"
    target_update_period: int = 50  # updates
    epsilon_start: float = 1.0
    epsilon_end: float = 0.05
    epsilon_decay_steps: int = 40_000
    batch_size: int = 128
    steps_per_iteration: int = 4
    updates_per_iteration: int = 1
    replay_capacity: int = 10_000  # rows
    warmup_steps: int = 1_000  # of uniformly random actions, before the first update
    priority_exponent: float | None = None  # None: uniform replay; a number: prioritised
    importance_exponent: float = 0.4
    num_envs: int = 1  # in parallel
    max_episode_steps: int | None = None  # None: the environment's own limit
    steps_per_report: int = 1_000

    def __post_init__(self):
        for name in ("num_steps", "steps_per_report", "warmup_steps", "target_update_period", "epsilon_decay_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"config {name}: expected at least 1, got {getattr(self, name)}")
        if not self.learning_rate > 0:
            raise ValueError(f"config learning_rate: expected a positive number, got {self.learning_rate}")
        for name in ("gamma", "epsilon_start", "epsilon_end"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"config {name}: expected a number from 0 to 1, got {getattr(self, name)}")

    def learning_rate_schedule(self) -> optax.Schedule:
        """The learning rate as a function of the update count."""
        if self.learning_rate_end is None:
            return optax.constant_schedule(self.learning_rate)
        return optax.linear_schedule(
            self.learning_rate, self.learning_rate_end, self.updates(self.num_steps - self.warmup_steps)
        )

    def updates(self, num_steps: int) -> int:
        """How many updates so many environment steps bring, at least 1."""
        return max(1, num_steps * self.updates_per_iteration // self.steps_per_iteration)


def dqn_agent(config: DqnConfig, specs: EnvironmentSpecs) -> DqnAgent:
    """The agent of a configuration, for an environment's specs.

    Raises:
      ValueError: if its actions are not one discrete choice.
    """
    num_actions: Any = getattr(specs.action, "num_values", None)
    epsilon = optax.linear_schedule(config.epsilon_start, config.epsilon_end, config.updates(config.epsilon_decay_steps))
    return DqnAgent(
        specs,
        QNetwork(num_actions, config.hidden, default_encoder(specs.observation)),
        optax.adam(config.learning_rate_schedule()),
        gamma=config.gamma,
        n_step=config.n_step,
        double=config.double,
        epsilon=epsilon,
        td_loss={"huber": losses.huber, "squared": losses.squared}[config.td_loss],
        target_update=periodic(config.target_update_period),
    )
