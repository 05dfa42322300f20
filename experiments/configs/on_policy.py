"""The base of the configurations of agents that learn from their own recent rows."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, Self

import jax
import optax

from ...agents import OfSteps, scale_by_steps
from ...agents.on_policy import OnPolicyAgent
from ...envs.environment import Environment, JaxEnvironment
from ...learners import OnPolicyLoop, OnPolicyScan
from .base import Activation, Config, Observers, clipped, linear
from .checking import Count, CountFromZero, Fraction, NotNegative, Positive, Sizes


@dataclasses.dataclass(frozen=True, kw_only=True)
class OnPolicyConfig(Config):
    """The settings that agents share which learn from their own recent rows.

    An iteration makes `num_rows` rows in each of `num_envs` environments and passes over them
    `num_epochs` times, in `num_minibatches` updates each.
    """

    num_steps: Count = 500_000
    hidden: Sizes = (64, 64)  # of the policy, and of the value, which share nothing
    activation: Activation = "tanh"
    learning_rate: Positive = 1e-3
    learning_rate_end: NotNegative | None = None  # reached linearly; None: constant
    learning_rate_steps: Count | None = None  # until then; None: num_steps
    optimizer_eps: Positive = 1e-5
    max_grad_norm: Positive | None = 0.5  # None: gradients are not clipped
    gamma: Fraction = 0.99
    entropy_coefficient: float = 0.0
    value_coefficient: NotNegative = 0.5
    normalize_observations: bool = False
    normalize_rewards: bool = False
    num_envs: Count = 8  # in parallel
    num_rows: Count = 128  # of an iteration, in each environment
    num_epochs: Count = 1
    num_minibatches: Count = 1
    policy_lag: CountFromZero = 0  # act with parameters this many iterations old; on device only
    iterations_per_report: Count = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps_per_iteration % self.num_minibatches:
            raise ValueError(
                "config num_minibatches: expected a divisor of num_envs x num_rows = "
                f"{self.steps_per_iteration}, got {self.num_minibatches}"
            )

    @property
    def learns_from(self) -> str | None:
        """The source of its rows, in words."""
        return "fresh rows"

    @property
    def steps_per_iteration(self) -> int:
        """The number of rows of an iteration, of all environments together."""
        return self.num_envs * self.num_rows

    @property
    def updates_per_iteration(self) -> int:
        """The number of optimizer updates of an iteration."""
        return self.num_epochs * self.num_minibatches

    @property
    def steps_per_report(self) -> int:
        """The number of rows from report to report."""
        return self.iterations_per_report * self.steps_per_iteration

    @property
    def num_iterations(self) -> int:
        """The number of iterations of the loop in a run of `num_steps`."""
        return max(1, self.num_steps // self.steps_per_iteration)

    def schedule(self, start: float, end: float | None) -> Any:
        """From `start` to `end` as the learning rate falls: a schedule of environment steps.

        It is just `start` if `end` is None.
        """
        steps = self.num_steps if self.learning_rate_steps is None else self.learning_rate_steps
        return start if end is None else OfSteps(linear(start, end, steps))

    def optimizer(self) -> optax.GradientTransformation:
        """Adam, with the schedule of the learning rate."""
        return self.with_rate(partial(optax.adam, eps=self.optimizer_eps))

    def with_rate(
        self, make: Callable[[Any], optax.GradientTransformation]
    ) -> optax.GradientTransformation:
        """An optimizer with the schedule of the learning rate, of gradients that are clipped first.

        Args:
          make: Function that makes the optimizer of a rate, such as `optax.adam`.
        """
        rate = self.schedule(self.learning_rate, self.learning_rate_end)
        if isinstance(rate, OfSteps):
            falling = optax.chain(make(1.0), scale_by_steps(rate.schedule))
            return clipped(self.max_grad_norm, falling)
        return clipped(self.max_grad_norm, make(rate))

    def vectorized(self, num_envs: int = 8) -> Self:
        """The configuration with `num_envs` environments at once, if it has only one."""
        return self if self.num_envs > 1 else dataclasses.replace(self, num_envs=num_envs)

    def loop(self, agent: OnPolicyAgent, env: JaxEnvironment) -> OnPolicyScan:
        """The loop on device, which learns from its own recent rows."""
        return OnPolicyScan(
            agent,
            env,
            num_envs=self.num_envs,
            num_rows=self.num_rows,
            num_epochs=self.num_epochs,
            num_minibatches=self.num_minibatches,
            policy_lag=self.policy_lag,
        )

    def host_loop(
        self,
        agent: OnPolicyAgent,
        env: Environment,
        buffer: None = None,
        *,
        key: jax.Array,
        seed: int,
        observers: Observers = (),
    ) -> OnPolicyLoop:
        """The Python loop over a host environment; the arguments are those of `OnPolicyLoop`.

        Raises:
          ValueError: for a `policy_lag`, which only the loop on device has.
        """
        if self.policy_lag:
            raise ValueError(
                f"config policy_lag={self.policy_lag}: only the device runner delays parameters; "
                "set 0 here"
            )
        return OnPolicyLoop(
            agent,
            env,
            num_rows=self.num_rows,
            num_epochs=self.num_epochs,
            num_minibatches=self.num_minibatches,
            observers=observers,
            key=key,
            seed=seed,
        )
