"""What agents over discrete actions share that learn values from replay: DQN, C51, QR-DQN and
recurrent DQN.
"""

import dataclasses
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp

from ..envs.specs import DiscreteSpec, EnvironmentSpecs, trajectory_spec, zeros
from ..envs.types import Array, Trajectory, Tree, split_action_mask
from ..networks.distributions import Categorical
from ..networks.noisy import apply_network, draws_noise
from ..policies.greedy import EpsilonGreedyPolicy, GreedyPolicy
from ..policies.noisy import NoisyPolicy
from ..policies.policy import Policy
from ..policies.q_policy import QPolicy
from ..policies.schedule import Schedule
from . import losses
from .agent import LossInfo, Optimizer, Shards, TrainState, apply_loss, init_state, weighted_mean
from .checks import check_experience, check_parts, check_values_network
from .describe import describe
from .reductions import to_transition
from .targets import TargetUpdate, periodic


@dataclasses.dataclass(frozen=True, eq=False)
class ValueBasedAgent:
    """Replayed windows of n + 1 rows, a network and its target, and policies over action values. An
    abstract base.

    A subclass says what the network's outputs mean: `output_shape`, `values` and `example_loss`.
    The arguments are those of `DqnAgent`, but for its `td_loss`.

    With noisy layers in the network (`QNetwork(noisy_sigma=0.5)`), collecting draws noise for each
    row of each environment, an update once for each network that it applies (one draw for the whole
    batch, as in Fortunato et al. 2018), and evaluation uses the mean weights.

    Raises:
      TypeError: if `specs`, the optimizer or a function is something else.
      ValueError: if the action spec or the network's output does not fit, n_step < 1, or gamma or
        epsilon is outside 0..1.
    """

    specs: EnvironmentSpecs
    network: Any
    optimizer: Optimizer
    gamma: float | Array = 0.99
    n_step: int = 1
    double: bool = False
    epsilon: float | Schedule = 0.1
    target_update: TargetUpdate = periodic(200)

    def __post_init__(self):
        check_parts(self)
        name, action = type(self).__name__, self.specs.action
        if not isinstance(action, DiscreteSpec) or action.shape:
            raise ValueError(
                f"{name}: expected one discrete action (DiscreteSpec), got {action}; for "
                "continuous actions use SAC"
            )
        if self.n_step < 1:
            raise ValueError(f"{name}: expected n_step >= 1, got {self.n_step}")
        if isinstance(self.gamma, int | float) and not 0 <= self.gamma <= 1:
            raise ValueError(f"{name}: expected gamma in 0..1, got {self.gamma}")
        if isinstance(self.epsilon, int | float) and not 0 <= self.epsilon <= 1:
            raise ValueError(f"{name}: expected epsilon in 0..1, got {self.epsilon}")
        self._check_network()

    __str__ = describe

    # -- what a subclass says

    @property
    def output_shape(self) -> tuple[int | None, ...]:
        """The shape of the network's output for one observation, None for any size."""
        return (self.specs.action.num_values,)

    def values(self, outputs: Array) -> Array:
        """Action values `[..., A]` from the network's outputs `[..., *output_shape]`."""
        return outputs

    def example_loss(
        self,
        outputs_tm1: Array,
        a_tm1: Array,
        r_t: Array,
        discount_t: Array,
        outputs_t: Array,
        q_t_selector: Array,
        mask_t: Array | None,
    ) -> tuple[Array, Array]:
        """The loss of one transition, and its TD error or what else its priority in replay is to
        be.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must define example_loss, as DqnAgent does"
        )

    # -- what they share

    @property
    def train_sequence_length(self) -> int:
        return self.n_step + 1

    @cached_property
    def policy(self) -> Policy:
        return GreedyPolicy(self._q_policy)

    @cached_property
    def collect_policy(self) -> Policy:
        policy = EpsilonGreedyPolicy(self._q_policy, self.epsilon)
        return NoisyPolicy(policy) if self._noisy else policy

    @cached_property
    def collect_data_spec(self) -> Trajectory:
        return trajectory_spec(self.specs)

    @cached_property
    def _q_policy(self) -> Any:
        return QPolicy(self.network, values=self.values)

    @cached_property
    def _noisy(self) -> bool:
        return draws_noise(self.network, split_action_mask(zeros(self.specs.observation))[0])

    def init(self, key: Array) -> TrainState:
        network_key, key = jax.random.split(key)
        params = {"q": self._init_network(network_key)}
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
        self,
        params: Tree,
        state: TrainState,
        experience: Trajectory,
        key: Array,
        weights: Array | None = None,
    ) -> LossInfo:
        """The mean of weight x loss over windows `[B, n_step + 1, ...]`; `per_example["td_error"]`
        is `[B]`.
        """
        rows = to_transition(experience, self.gamma)
        next_observation, next_mask = split_action_mask(rows.next_observation)
        keys = jax.random.split(key, 3) if self._noisy else (None, None, None)
        outputs_tm1 = apply_network(
            self.network, params["q"], split_action_mask(rows.observation)[0], keys[0]
        )
        outputs_t = apply_network(self.network, state.target_params["q"], next_observation, keys[1])
        selector = (
            apply_network(self.network, params["q"], next_observation, keys[2])
            if self.double
            else outputs_t
        )
        loss, td_error = jax.vmap(self.example_loss)(
            outputs_tm1,
            rows.action,
            rows.reward,
            rows.discount,
            outputs_t,
            self.values(selector),
            next_mask,
        )
        q = jax.vmap(losses.index)(self.values(outputs_tm1), rows.action)
        metrics = {"q": weighted_mean(q * rows.mask, weights)}
        return LossInfo(
            weighted_mean(loss * rows.mask, weights), metrics, {"td_error": td_error * rows.mask}
        )

    def train(
        self,
        state: TrainState,
        experience: Trajectory,
        weights: Array | None = None,
        *,
        shards: Shards | None = None,
    ) -> tuple[TrainState, LossInfo]:
        """One gradient step on windows `[B, train_sequence_length, ...]`.

        Raises:
          ValueError: if the windows' length is not `train_sequence_length`, or weights are not
            `[B]`.
          SpecError: if the experience does not meet `collect_data_spec`.
        """
        check_experience(experience, self.collect_data_spec, self.train_sequence_length, weights)
        loss_fn = lambda params, key: self.loss(params, state, experience, key, weights)
        return apply_loss(state, loss_fn, self.optimizer, self.target_update, shards)

    def _init_network(self, key: Array) -> Tree:
        return self.network.init(key, split_action_mask(zeros(self.specs.observation))[0])

    def _check_network(self) -> None:
        check_values_network(self.network, self.specs, self.output_shape)
