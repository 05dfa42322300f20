"""The base of all configurations."""

import abc
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, Self

import flax.linen as nn
import optax

from ...envs.environment import JaxEnvironment
from ...envs.specs import EnvironmentSpecs
from ...envs.types import Trajectory
from .checking import Count, Limit, check_values

Activation = Literal["relu", "tanh", "swish"]
ACTIVATIONS: dict[str, Callable[[Any], Any]] = {"relu": nn.relu, "tanh": nn.tanh, "swish": nn.swish}
_RATE_ENDS = ("learning_rate_end", "clip_ratio_end")
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
    def updates_per_iteration(self) -> int:
        """The number of optimizer updates of an iteration."""

    @property
    @abc.abstractmethod
    def steps_per_report(self) -> int:
        """The number of steps from report to report."""

    @property
    @abc.abstractmethod
    def num_iterations(self) -> int:
        """The number of iterations of the loop in a run of `num_steps`."""

    @property
    def learns_until(self) -> int | None:
        """The number of steps at which a rate has fallen to 0; None if none does.

        A learning rate of 0 learns nothing, and a clip ratio of 0 leaves the policy as it is.
        """
        if 0.0 not in (getattr(self, name, None) for name in _RATE_ENDS):
            return None
        return getattr(self, "learning_rate_steps", None) or self.num_steps

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

    def host_loop(self, *arguments: Any, **options: Any) -> Any:
        """The Python loop over a host environment, where there is one; see `OffPolicyConfig`.

        Raises:
          ValueError: if there is none.
        """
        raise ValueError(f"{self.algorithm}: {self.why_these_runners or 'it has no Python loop'}")

    def check_source(self) -> None:
        """Raises a ValueError if the data that it learns from are not there."""
        return

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
