"""The base of agents that learn from replayed windows of rows."""

import abc
from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar

import jax

from ..envs.specs import EnvironmentSpecs, trajectory_spec
from ..envs.types import Array, Trajectory, Tree
from ..policies.greedy import GreedyPolicy
from ..policies.policy import Policy
from .agent import LossInfo, Optimizer, Shards, TrainState, apply_loss, init_state
from .checks import check_experience, check_parts
from .describe import describe
from .targets import TargetUpdate


class OffPolicyAgent(abc.ABC):
    """An agent that learns from replay: one gradient step of all roles on windows of n + 1 rows.

    A subclass is a frozen dataclass (`eq=False`) with the fields below and its own. It defines
    `roles`, `init_params`, `collect_policy`, `loss` and `check_networks`.

    Attributes:
      specs: Specs of the environment.
      optimizer: An optax transformation, or a dict of them by role.
      n_step: Number of steps n of a return.
      target_update: Function that moves the target networks: `polyak(tau)` or `periodic(n)`; None
        if there are none.
      roles: Names of the networks' parameters that act and that are learned, in the order in which
        `init_params` gets their keys.
      target_roles: Names of those that have target parameters.
    """

    specs: EnvironmentSpecs
    optimizer: Optimizer
    n_step: int = 1
    target_update: TargetUpdate | None = None
    roles: ClassVar[tuple[str, ...]]
    target_roles: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        check_parts(self)
        if self.target_roles and self.target_update is None:
            raise TypeError(
                f"{type(self).__name__}: target_update: expected a function such as "
                "agents.polyak(0.005) or agents.periodic(200), got None; without one the target "
                "networks would never move"
            )
        self.check_networks()

    __str__ = describe

    @abc.abstractmethod
    def check_networks(self) -> None:
        """Raises a ValueError unless the actions are of the right kind and the networks fit."""

    @abc.abstractmethod
    def init_params(self, keys: Sequence[Array]) -> dict[str, Tree]:
        """The first parameters by role, from one key for each of `roles`."""

    @property
    @abc.abstractmethod
    def collect_policy(self) -> Policy:
        """The policy that gathers experience."""

    @abc.abstractmethod
    def loss(
        self,
        params: Tree,
        state: TrainState,
        experience: Trajectory,
        key: Array,
        weights: Array | None = None,
        *,
        shards: Shards | None = None,
    ) -> LossInfo:
        """The loss that `train` descends; see `Agent.loss`."""

    @cached_property
    def policy(self) -> Policy:
        """The policy to evaluate and to deploy: the greedy one."""
        return GreedyPolicy(self.collect_policy)

    @property
    def train_sequence_length(self) -> int | None:
        """The number of rows of a training window, n + 1."""
        return self.n_step + 1

    @cached_property
    def collect_data_spec(self) -> Trajectory:
        """The spec of one row of experience."""
        return trajectory_spec(self.specs)

    def init(self, key: Array) -> TrainState:
        """Returns a fresh state, made from a typed random key."""
        *keys, key = jax.random.split(key, len(self.roles) + 1)
        params = self.init_params(keys)
        targets = {role: params[role] for role in self.target_roles}
        return init_state(params, self.role_optimizers, key, target_params=targets)

    def policy_params(self, state: TrainState) -> Tree:
        """The parameters that the policies need; see `policies.PolicyParams`."""
        return {"params": {role: state.params[role] for role in self.roles}, "step": state.step}

    def train(
        self,
        state: TrainState,
        experience: Trajectory,
        weights: Array | None = None,
        *,
        shards: Shards | None = None,
    ) -> tuple[TrainState, LossInfo]:
        """Takes one gradient step of all roles on windows `[B, train_sequence_length, ...]`.

        Args:
          state: State to improve.
          experience: Rows `[B, T, ...]`.
          weights: Weights `[B]` of the windows' losses; None for 1.
          shards: Parts of the batch, as in `Agent.train`.

        Returns:
          The new state and the `LossInfo` of `loss`, with `loss` and `grad_norm` in its metrics.

        Raises:
          ValueError: if the windows' length is not `train_sequence_length`, or weights are not
            `[B]`.
          SpecError: if the experience does not meet `collect_data_spec`.
        """
        check_experience(experience, self.collect_data_spec, self.train_sequence_length, weights)

        def loss(params: Tree, key: Array) -> LossInfo:
            return self.loss(params, state, experience, key, weights, shards=shards)

        return apply_loss(state, loss, self.role_optimizers, self.follow_targets, shards)

    @property
    def role_optimizers(self) -> Optimizer:
        """The optimizer that an update applies: by default `optimizer`."""
        return self.optimizer

    @property
    def follow_targets(self) -> TargetUpdate | None:
        """The function that moves target parameters in an update: by default `target_update`."""
        return self.target_update
