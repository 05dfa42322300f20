"""What configurations have in common: the fields of a family's loop, and the optimizer that they
describe.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import optax

from .checking import check_values

Activation = Literal["relu", "tanh", "swish"]
ACTIVATIONS: dict[str, Callable[[Any], Any]] = {"relu": nn.relu, "tanh": nn.tanh, "swish": nn.swish}


@dataclasses.dataclass(frozen=True)
class OffPolicyConfig:
    """What agents that learn from replay share.

    Steps are environment steps, of all environments together. Updates happen
    `updates_per_iteration` at a time, every `steps_per_iteration` steps.
    """

    num_steps: int = 150_000  # environment steps to train for, unless a stop is given
    learning_rate: float = 1e-3
    learning_rate_end: float | None = None  # reached linearly; None: constant
    learning_rate_steps: int | None = (
        None  # in so many environment steps; None: those from the warm-up to num_steps
    )
    optimizer_eps: float = 1e-8
    max_grad_norm: float | None = None  # None: gradients are not clipped
    gamma: float = 0.99
    n_step: int = 1
    batch_size: int = 128
    steps_per_iteration: int = 1
    updates_per_iteration: int = 1
    replay_capacity: int = 100_000  # rows
    warmup_steps: int = 1_000  # of uniformly random actions, before the first update
    priority_exponent: float | None = None  # None: uniform replay; a number: prioritised
    importance_exponent: float = 0.4
    num_envs: int = 1  # in parallel
    max_episode_steps: int | None = None  # None: the environment's own limit
    steps_per_report: int = 1_000

    def __post_init__(self):
        check_values(self)

    @property
    def num_iterations(self) -> int:
        """Iterations of the loop after the warm-up, in a run of `num_steps`."""
        return max(1, (self.num_steps - self.warmup_steps) // self.steps_per_iteration)

    def updates(self, num_steps: int) -> int:
        """How many updates so many environment steps bring, at least 1."""
        return max(1, num_steps * self.updates_per_iteration // self.steps_per_iteration)

    def learning_rate_schedule(self) -> Any:
        """The learning rate as an optax schedule of the update count; a number if it is
        constant.
        """
        steps = (
            self.num_steps - self.warmup_steps
            if self.learning_rate_steps is None
            else self.learning_rate_steps
        )
        return linear(self.learning_rate, self.learning_rate_end, self.updates(steps))

    def optimizer(self) -> optax.GradientTransformation:
        """Adam, with the learning rate's schedule."""
        return clipped(
            self.max_grad_norm, optax.adam(self.learning_rate_schedule(), eps=self.optimizer_eps)
        )


@dataclasses.dataclass(frozen=True)
class OnPolicyConfig:
    """What agents that learn from their own recent rows share.

    An iteration makes `num_rows` rows in each of `num_envs` environments and passes over them
    `num_epochs` times, in `num_minibatches` updates each.
    """

    num_steps: int = 500_000  # environment steps to train for, unless a stop is given
    hidden: tuple[int, ...] = (64, 64)  # of the policy, and of the value, which share nothing
    activation: Activation = "tanh"
    learning_rate: float = 1e-3
    learning_rate_end: float | None = None  # reached linearly; None: constant
    learning_rate_steps: int | None = None  # in so many environment steps; None: num_steps
    optimizer_eps: float = 1e-5
    max_grad_norm: float | None = 0.5  # None: gradients are not clipped
    gamma: float = 0.99
    entropy_coefficient: float = 0.0
    value_coefficient: float = 0.5
    normalize_observations: bool = False
    normalize_rewards: bool = False
    num_envs: int = 8  # in parallel
    num_rows: int = 128  # of an iteration, in each environment
    num_epochs: int = 1
    num_minibatches: int = 1
    policy_lag: int = 0  # act with the parameters of so many iterations ago; on device only
    max_episode_steps: int | None = None  # None: the environment's own limit
    iterations_per_report: int = 10

    def __post_init__(self):
        check_values(self)
        if self.steps_per_iteration % self.num_minibatches:
            raise ValueError(
                "config num_minibatches: expected a divisor of num_envs x num_rows = "
                f"{self.steps_per_iteration}, "
                f"got {self.num_minibatches}"
            )

    @property
    def steps_per_iteration(self) -> int:
        """Rows of an iteration, of all environments together."""
        return self.num_envs * self.num_rows

    @property
    def updates_per_iteration(self) -> int:
        """Optimizer updates of an iteration."""
        return self.num_epochs * self.num_minibatches

    @property
    def steps_per_report(self) -> int:
        """Rows from report to report."""
        return self.iterations_per_report * self.steps_per_iteration

    @property
    def num_iterations(self) -> int:
        """Iterations of the loop in a run of `num_steps`."""
        return max(1, self.num_steps // self.steps_per_iteration)

    def schedule(self, start: float, end: float | None) -> Any:
        """From `start` to `end` as the learning rate falls: an optax schedule of updates; a number
        if `end` is None.
        """
        steps = self.num_steps if self.learning_rate_steps is None else self.learning_rate_steps
        return linear(
            start, end, max(1, steps // self.steps_per_iteration * self.updates_per_iteration)
        )

    def optimizer(self) -> optax.GradientTransformation:
        """Adam, with the learning rate's schedule."""
        rate = self.schedule(self.learning_rate, self.learning_rate_end)
        return clipped(self.max_grad_norm, optax.adam(rate, eps=self.optimizer_eps))


def linear(start: float, end: float | None, num_updates: int) -> Any:
    """A linear optax schedule, or just `start` if there is no end."""
    return start if end is None else optax.linear_schedule(start, end, num_updates)


def clipped(
    max_grad_norm: float | None, optimizer: optax.GradientTransformation
) -> optax.GradientTransformation:
    """An optimizer of gradients that are clipped to a global norm first; as it is if that is
    None.
    """
    return (
        optimizer
        if max_grad_norm is None
        else optax.chain(optax.clip_by_global_norm(max_grad_norm), optimizer)
    )


def vectorized(config: Any, num_envs: int = 8) -> Any:
    """The configuration with `num_envs` environments at once, if it has only one; updates keep
    their proportion to steps.
    """
    if config.num_envs > 1 or not isinstance(config, OffPolicyConfig | OnPolicyConfig):
        return config
    if isinstance(config, OnPolicyConfig):
        return dataclasses.replace(config, num_envs=num_envs)
    factor = -(-num_envs // config.steps_per_iteration)
    steps, updates = factor * config.steps_per_iteration, factor * config.updates_per_iteration
    return dataclasses.replace(
        config, num_envs=num_envs, steps_per_iteration=steps, updates_per_iteration=updates
    )
