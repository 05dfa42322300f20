"""What configurations have in common: the fields of a family's loop, and the optimizer that they describe."""

import dataclasses
import math
import types
import typing
from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import optax

Activation = Literal["relu", "tanh", "swish"]
ACTIVATIONS: dict[str, Callable[[Any], Any]] = {"relu": nn.relu, "tanh": nn.tanh, "swish": nn.swish}

_POSITIVE = {
    "learning_rate",
    "optimizer_eps",
    "max_grad_norm",
    "priority_exponent",
    "kl_target",
    "clip_ratio",
    "value_clip",
    "sigma",
    "temperature",
}
_NOT_NEGATIVE = {"learning_rate_end", "learning_rate_decay", "importance_exponent", "noisy_sigma", "huber_param"}
_NOT_NEGATIVE |= {"clip_ratio_end", "initial_kl_beta", "value_coefficient", "sigma_end", "sigma_decay"}
_NOT_NEGATIVE |= {"exploration_noise", "exploration_damping", "target_noise", "target_noise_clip"}
_FRACTIONS = {"gamma", "lambda_", "epsilon_start", "epsilon_end", "tau"}
_MAY_BE_ZERO = {"burn_in", "policy_lag"}


@dataclasses.dataclass(frozen=True)
class OffPolicyConfig:
    """What agents that learn from replay share.

    Steps are environment steps, of all environments together. Updates happen `updates_per_iteration` at a time, every
    `steps_per_iteration` steps.
    """

    num_steps: int = 150_000  # environment steps to train for, unless a stop is given
    learning_rate: float = 1e-3
    learning_rate_end: float | None = None  # reached linearly; None: constant
    learning_rate_steps: int | None = None  # in so many environment steps; None: those from the warm-up to num_steps
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
        """The learning rate as an optax schedule of the update count; a number if it is constant."""
        steps = self.num_steps - self.warmup_steps if self.learning_rate_steps is None else self.learning_rate_steps
        return linear(self.learning_rate, self.learning_rate_end, self.updates(steps))

    def optimizer(self) -> optax.GradientTransformation:
        """Adam, with the learning rate's schedule."""
        return clipped(self.max_grad_norm, optax.adam(self.learning_rate_schedule(), eps=self.optimizer_eps))


@dataclasses.dataclass(frozen=True)
class OnPolicyConfig:
    """What agents that learn from their own recent rows share.

    An iteration makes `num_rows` rows in each of `num_envs` environments and passes over them `num_epochs` times, in
    `num_minibatches` updates each.
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
                f"config num_minibatches: expected a divisor of num_envs x num_rows = {self.steps_per_iteration}, "
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
        """From `start` to `end` as the learning rate falls: an optax schedule of updates; a number if `end` is None."""
        steps = self.num_steps if self.learning_rate_steps is None else self.learning_rate_steps
        return linear(start, end, max(1, steps // self.steps_per_iteration * self.updates_per_iteration))

    def optimizer(self) -> optax.GradientTransformation:
        """Adam, with the learning rate's schedule."""
        rate = self.schedule(self.learning_rate, self.learning_rate_end)
        return clipped(self.max_grad_norm, optax.adam(rate, eps=self.optimizer_eps))


def linear(start: float, end: float | None, num_updates: int) -> Any:
    """A linear optax schedule, or just `start` if there is no end."""
    return start if end is None else optax.linear_schedule(start, end, num_updates)


def clipped(max_grad_norm: float | None, optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """An optimizer of gradients that are clipped to a global norm first; as it is if that is None."""
    return optimizer if max_grad_norm is None else optax.chain(optax.clip_by_global_norm(max_grad_norm), optimizer)


def vectorized(config: Any, num_envs: int = 8) -> Any:
    """The configuration with `num_envs` environments at once, if it has only one; updates keep their proportion to steps."""
    if config.num_envs > 1 or not isinstance(config, OffPolicyConfig | OnPolicyConfig):
        return config
    if isinstance(config, OnPolicyConfig):
        return dataclasses.replace(config, num_envs=num_envs)
    factor = -(-num_envs // config.steps_per_iteration)
    steps, updates = factor * config.steps_per_iteration, factor * config.updates_per_iteration
    return dataclasses.replace(config, num_envs=num_envs, steps_per_iteration=steps, updates_per_iteration=updates)


def check_values(config: Any) -> None:
    """Raises a ValueError unless a configuration's values are of their types, and its numbers in their ranges.

    A list becomes a tuple, 5e4 the integer that it is. Numbers that are traced, and arrays, are let through.
    """
    for field in dataclasses.fields(config):
        name, value = field.name, getattr(config, field.name)
        if value is None or isinstance(value, str | int | float | list | tuple):
            value = convert(name, value, field.type)
            object.__setattr__(config, name, value)
        if name == "max_episode_steps" and value == -1:  # no limit
            continue
        if isinstance(value, int) and not isinstance(value, bool) and field.type in (int, int | None):
            least = 0 if name in _MAY_BE_ZERO else 1
            if value < least:
                raise ValueError(f"config {name}: expected at least {least}, got {value}")
        elif isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"config {name}: expected a finite number, got {value}")
        elif isinstance(value, int | float) and name in _NOT_NEGATIVE and value < 0:
            raise ValueError(f"config {name}: expected 0 or more, got {value}")
        elif name == "hidden" and min(value, default=1) < 1:
            raise ValueError(f"config hidden: expected sizes of at least 1, got {list(value)}")
        elif isinstance(value, int | float) and name in _FRACTIONS and not 0 <= value <= 1:
            raise ValueError(f"config {name}: expected a number from 0 to 1, got {value}")
        elif isinstance(value, int | float) and name in _POSITIVE and not value > 0:
            raise ValueError(f"config {name}: expected a positive number, got {value}")


def convert(key: str, value: Any, hint: Any) -> Any:
    """A setting's value, as it may come from JSON or a user, as the type that its field has.

    Raises:
      ValueError: it is of another one.
    """
    if isinstance(hint, types.UnionType):
        if value is None and type(None) in hint.__args__:
            return None
        return convert(key, value, next(arg for arg in hint.__args__ if arg is not type(None)))
    origin, expected = typing.get_origin(hint), getattr(hint, "__name__", str(hint))
    if origin is Literal:
        if value in typing.get_args(hint):
            return value
        expected = " or ".join(map(repr, typing.get_args(hint)))
    elif origin is tuple:
        expected = f"a list of {'whole ' if typing.get_args(hint)[0] is int else ''}numbers"
        if isinstance(value, list | tuple):
            return tuple(convert(key, item, typing.get_args(hint)[0]) for item in value)
    elif hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif hint is int and isinstance(value, float) and value.is_integer():
        return int(value)  # 5e4 is a float in JSON
    elif isinstance(value, hint) and isinstance(value, bool) == (hint is bool):
        return value
    expected = {"int": "a whole number", "float": "a number", "bool": "true or false"}.get(expected, expected)
    raise ValueError(f"config {key}: expected {expected}, got {value!r}")
