"""Deep Q-learning (Mnih et al. 2015), with double Q-learning and n-step returns as options."""

import dataclasses
from collections.abc import Callable
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp

from ..envs.specs import DiscreteSpec, EnvironmentSpecs, trajectory_spec, validate, zeros
from ..envs.types import Array, Trajectory, Tree, split_action_mask
from ..networks.distributions import Categorical
from ..policies.policy import Policy
from ..policies.q_policy import EpsilonGreedyPolicy, GreedyPolicy, QPolicy, Schedule
from . import losses
from .agent import LossInfo, Optimizer, TargetUpdate, TrainState, apply_loss, init_state, periodic, weighted_mean
from .reductions import to_transition


@dataclasses.dataclass(frozen=True, eq=False)
class DqnAgent:
    """Learns action values Q(o, a) from replayed windows of n + 1 rows.

    The target is the n-step one, R + discount x max_a Q_target(o', a) (double: the action that Q itself finds best; van Hasselt
    et al. 2016). Windows that begin on a boundary row count nothing. Action masks in observations hold when acting and in
    targets alike.

    Args:
      specs: the environment's; the action must be one `DiscreteSpec` with a single factor.
      network: maps observations `[..., *shape]` (without their action mask) to values `[..., num_actions]`.
      optimizer: an optax transformation.
      gamma: discount factor per step; may be traced.
      n_step: steps n of a return.
      double: double Q-learning.
      epsilon: probability of a random action when collecting; a float, or a schedule of the update count.
      td_loss: maps TD errors to losses, elementwise: `losses.huber` or `losses.squared`.
      target_update: how the target network follows: `periodic(n)` or `polyak(tau)`.

    Raises:
      ValueError: if the action spec or the network's output does not fit, or n_step < 1.
    """

    specs: EnvironmentSpecs
    network: Any
    optimizer: Optimizer
    gamma: float | Array = 0.99
    n_step: int = 1
    double: bool = False
    epsilon: float | Schedule = 0.1
    td_loss: Callable[[Array], Array] = losses.huber
    target_update: TargetUpdate = periodic(200)  # noqa: RUF009 (a pure function: sharing it is safe)

    def __post_init__(self):
        action = self.specs.action
        if not isinstance(action, DiscreteSpec) or action.shape:
            raise ValueError(
                f"DqnAgent: expected one discrete action (DiscreteSpec), got {action}; for continuous actions use SAC"
            )
        if self.n_step < 1:
            raise ValueError(f"DqnAgent: expected n_step >= 1, got {self.n_step}")
        if isinstance(self.gamma, int | float) and not 0 <= self.gamma <= 1:
            raise ValueError(f"DqnAgent: expected gamma in 0..1, got {self.gamma}")
        check_values_network(self.network, self.specs)

    @property
    def train_sequence_length(self) -> int:
        return self.n_step + 1

    @cached_property
    def policy(self) -> Policy:
        return GreedyPolicy(self._q_policy)

    @cached_property
    def collect_policy(self) -> Policy:
        return EpsilonGreedyPolicy(self._q_policy, self.epsilon)

    @cached_property
    def collect_data_spec(self) -> Trajectory:
        return trajectory_spec(self.specs)

    @cached_property
    def _q_policy(self) -> QPolicy:
        return QPolicy(self.network)

    def init(self, key: Array) -> TrainState:
        network_key, key = jax.random.split(key)
        observation, _ = split_action_mask(zeros(self.specs.observation))
        params = {"q": self.network.init(network_key, observation)}
        return init_state(params, self.optimizer, key, target_params=params)

    def policy_params(self, state: TrainState) -> Tree:
        return {"params": state.params, "step": state.step}

    def q_values(self, params: Tree, observation: Tree) -> Array:
        """Q of every action, `[..., num_actions]`, from `policy_params`."""
        return self._q_policy.q_values(params, observation)

    def value(self, params: Tree, observation: Tree) -> Array:
        """max_a Q(observation, a) over the allowed actions, `[...]`, from `policy_params`."""
        values = self.q_values(params, observation)
        best = Categorical(values, split_action_mask(observation)[1]).mode()
        return jnp.take_along_axis(values, best[..., None], axis=-1)[..., 0]

    def loss(
        self, params: Tree, state: TrainState, experience: Trajectory, key: Array, weights: Array | None = None
    ) -> LossInfo:
        """The mean of weight x td_loss(TD error) over windows `[B, n_step + 1, ...]`; `per_example["td_error"]` is `[B]`."""
        rows = to_transition(experience, self.gamma)
        next_observation, next_mask = split_action_mask(rows.next_observation)
        q_tm1 = self.network.apply(params["q"], split_action_mask(rows.observation)[0])
        q_t = self.network.apply(state.target_params["q"], next_observation)
        if self.double:
            selector = self.network.apply(params["q"], next_observation)
            td_error = jax.vmap(losses.double_q_learning, in_axes=(0, 0, 0, 0, 0, 0, None if next_mask is None else 0))(
                q_tm1, rows.action, rows.reward, rows.discount, q_t, selector, next_mask
            )
        else:
            td_error = jax.vmap(losses.q_learning, in_axes=(0, 0, 0, 0, 0, None if next_mask is None else 0))(
                q_tm1, rows.action, rows.reward, rows.discount, q_t, next_mask
            )
        td_error = td_error * rows.mask
        loss = weighted_mean(self.td_loss(td_error) * rows.mask, weights)
        metrics = {"q": weighted_mean(jax.vmap(losses.index)(q_tm1, rows.action) * rows.mask, weights)}
        return LossInfo(loss, metrics, {"td_error": td_error})

    def train(
        self, state: TrainState, experience: Trajectory, weights: Array | None = None, *, axis_name: str | None = None
    ) -> tuple[TrainState, LossInfo]:
        """One gradient step on windows `[B, n_step + 1, ...]`.

        Raises:
          ValueError: if the windows' length is not `train_sequence_length`, or weights are not `[B]`.
          SpecError: if the experience does not meet `collect_data_spec`.
        """
        check_experience(experience, self.collect_data_spec, self.train_sequence_length, weights)
        loss_fn = lambda params, key: self.loss(params, state, experience, key, weights)  # noqa: E731
        return apply_loss(state, loss_fn, self.optimizer, self.target_update, axis_name)


def check_experience(
    experience: Trajectory, spec: Trajectory, sequence_length: int | None, weights: Array | None = None
) -> None:
    """Raises for experience that is not `[B, T, ...]` of `spec` with T = `sequence_length`, or weights that are not `[B]`.

    Costs nothing once traced.
    """
    shape = jnp.shape(experience.step_type)
    if len(shape) != 2 or sequence_length not in (None, shape[1]):
        raise ValueError(
            f"experience: expected step types [B, T={sequence_length}], got {list(shape)}; build the replay with "
            "sequence_length=agent.train_sequence_length and sample batches from it"
        )
    if weights is not None and jnp.shape(weights) != shape[:1]:
        raise ValueError(f"weights: expected one for each window, shape {list(shape[:1])}, got {list(jnp.shape(weights))}")
    validate(experience, spec, batch_ndim=2)


def check_values_network(network: Any, specs: EnvironmentSpecs, num_outputs: tuple[int, ...] | None = None) -> None:
    """Raises a ValueError if a network does not map observations `[2, 3, *shape]` to `[2, 3, num_actions]`."""
    observation, _ = split_action_mask(zeros(specs.observation))
    batch, _ = split_action_mask(zeros(specs.observation, (2, 3)))
    expected = (2, 3, *((specs.action.num_values,) if num_outputs is None else num_outputs))
    advice = "networks.default_encoder(env.specs.observation) gives QNetwork an encoder that fits"
    try:
        variables = jax.eval_shape(network.init, jax.random.key(0), observation)
        got = jax.eval_shape(network.apply, variables, batch).shape
    except (TypeError, ValueError, AttributeError) as error:
        described = jax.tree.map(str, specs.observation)
        raise ValueError(f"network: cannot take observations {described}: {error}; {advice}") from error
    if got != expected:
        raise ValueError(f"network: expected values {list(expected)} for observations [2, 3, ...], got {list(got)}; {advice}")
