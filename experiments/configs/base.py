"""The bases of configurations: what a family of algorithms has in common, and its loops."""

import abc
import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, Self

import flax.linen as nn
import jax
import optax

from ...agents.agent import Agent
from ...agents.on_policy import OnPolicyAgent
from ...envs.environment import Environment, JaxEnvironment
from ...envs.specs import EnvironmentSpecs
from ...envs.types import Trajectory
from ...learners import OffPolicyLoop, OffPolicyScan, OnPolicyLoop, OnPolicyScan
from ...replay.replay import Replay
from .checking import (
    Count,
    CountFromZero,
    Fraction,
    Limit,
    NotNegative,
    Positive,
    Sizes,
    check_values,
)

Activation = Literal["relu", "tanh", "swish"]
ACTIVATIONS: dict[str, Callable[[Any], Any]] = {"relu": nn.relu, "tanh": nn.tanh, "swish": nn.swish}
Observers = Sequence[Callable[[Trajectory], Any]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(abc.ABC):
    """The settings of an algorithm, and the agent and the loops that they describe.

    Derive from `OffPolicyConfig` or `OnPolicyConfig` for an algorithm of your own, add fields,
    and define `agent`.

    Attributes:
      algorithm: Name of the algorithm; not a setting.
    """

    algorithm: str
    num_steps: Count  # environment steps to train for, unless a stop is given
    max_episode_steps: Limit | None = None  # None: the environment's own limit

    runners: ClassVar[Sequence[str]] = ("loop", "vector", "device", "ray")
    why_these_runners: ClassVar[str] = ""
    from_data: ClassVar[bool] = False  # it learns from a data set, and steps no environment
    corrects_lag: ClassVar[bool] = False  # it may learn from rows of older policies
    whole_episodes: ClassVar[bool] = False  # an iteration is whole episodes
    can_be_vmapped: ClassVar[bool] = True  # several runs may be one on device

    def __post_init__(self) -> None:
        check_values(self)

    @property
    @abc.abstractmethod
    def num_envs(self) -> int:
        """The number of environments in parallel."""

    @property
    @abc.abstractmethod
    def steps_per_iteration(self) -> int:
        """The number of steps of an iteration, of all environments together."""

    @property
    @abc.abstractmethod
    def steps_per_report(self) -> int:
        """The number of steps from report to report."""

    @property
    @abc.abstractmethod
    def num_iterations(self) -> int:
        """The number of iterations of the loop in a run of `num_steps`."""

    @property
    def learns_from(self) -> str | None:
        """The source of its rows, in words; None for replay."""
        return None

    @property
    def default_runner(self) -> str:
        """The runner that is taken if none is asked for."""
        return self.runners[0]

    @abc.abstractmethod
    def agent(self, specs: EnvironmentSpecs) -> Any:
        """The agent, for an environment's specs.

        Raises:
          ValueError: if the algorithm is not for these specs.
        """

    @abc.abstractmethod
    def loop(self, agent: Any, env: JaxEnvironment) -> Any:
        """The loop on device: a `learners.Scan` of the agent and a JAX environment.

        Raises:
          ValueError: if the settings do not fit together on device.
        """

    def settings(self) -> dict[str, Any]:
        """The settings by name, as values that JSON can hold; `presets.make_config` reads them."""
        values = dataclasses.asdict(self)
        del values["algorithm"]
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
        }

    def vectorized(self, num_envs: int = 8) -> Self:
        """The configuration with `num_envs` environments at once, if it has only one."""
        return self

    def steps_done(self, state: Any) -> int:
        """The number of steps of a loop on device, from its state."""
        return int(state.num_steps)


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
        if self.steps_per_iteration % self.num_envs:
            raise ValueError(
                "config steps_per_iteration: on device, expected a multiple of "
                f"num_envs={self.num_envs}, got {self.steps_per_iteration}"
            )
        # A random policy would not give the info that some agents store.
        warmup_policy = agent.collect_policy if agent.collect_data_spec.policy_info else None
        return OffPolicyScan(
            agent,
            env,
            num_envs=self.num_envs,
            rows_per_iteration=self.steps_per_iteration // self.num_envs,
            updates_per_iteration=self.updates_per_iteration,
            batch_size=self.batch_size,
            capacity=self.replay_capacity,
            warmup_rows=math.ceil(self.warmup_steps / self.num_envs),
            warmup_policy=warmup_policy,
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

    def steps_done(self, state: Any) -> int:
        """The number of rows of a loop on device, boundary rows included, from its state."""
        return int(state.rollout.row) * self.num_envs


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
        """From `start` to `end` as the learning rate falls: an optax schedule of updates.

        It is just `start` if `end` is None.
        """
        steps = self.num_steps if self.learning_rate_steps is None else self.learning_rate_steps
        num_updates = steps // self.steps_per_iteration * self.updates_per_iteration
        return linear(start, end, max(1, num_updates))

    def optimizer(self) -> optax.GradientTransformation:
        """Adam, with the schedule of the learning rate."""
        rate = self.schedule(self.learning_rate, self.learning_rate_end)
        return clipped(self.max_grad_norm, optax.adam(rate, eps=self.optimizer_eps))

    def vectorized(self, num_envs: int = 8) -> Self:
        """The configuration with `num_envs` environments at once, if it has only one."""
        return self if self.num_envs > 1 else dataclasses.replace(self, num_envs=num_envs)

    def loop(self, agent: OnPolicyAgent, env: JaxEnvironment) -> OnPolicyScan:
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

    def steps_done(self, state: Any) -> int:
        """The number of rows of a loop on device, boundary rows included, from its state."""
        return int(state.rollout.row) * self.num_envs


def linear(start: float, end: float | None, num_updates: int) -> Any:
    """A linear optax schedule, or just `start` if there is no end."""
    return start if end is None else optax.linear_schedule(start, end, num_updates)


def clipped(
    max_grad_norm: float | None, optimizer: optax.GradientTransformation
) -> optax.GradientTransformation:
    """An optimizer of gradients that are clipped to a global norm first, if there is one."""
    if max_grad_norm is None:
        return optimizer
    return optax.chain(optax.clip_by_global_norm(max_grad_norm), optimizer)
