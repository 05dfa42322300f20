"""The family of agents that learn values of discrete actions: DQN, C51, QR-DQN, recurrent DQN."""

import abc
import dataclasses
from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from ..envs.specs import EnvironmentSpecs, zeros
from ..envs.types import Array, Trajectory, Tree, split_action_mask
from ..networks.distributions import Categorical
from ..networks.noisy import apply_network, draws_noise
from ..policies.greedy import EpsilonGreedyPolicy, GreedyPolicy
from ..policies.noisy import NoisyPolicy
from ..policies.policy import Policy
from ..policies.q_policy import QPolicy
from ..policies.schedule import Schedule
from . import losses
from .agent import LossInfo, Optimizer, Shards, TrainState, over_share, weighted_mean
from .checks import check_discrete, check_values_network
from .off_policy import OffPolicyAgent
from .reductions import to_transition
from .targets import TargetUpdate, periodic


class ValueExample(NamedTuple):
    """One transition as `ValueBasedAgent.example_loss` gets it; names are those of `losses`.

    Attributes:
      outputs_tm1: Outputs of the network for the observation o, `[*output_shape]`.
      a_tm1: Action taken there, int scalar.
      r_t: Reward, or the discounted sum of n rewards.
      discount_t: Gamma times the environment's discount, over n steps.
      outputs_t: Outputs of the target network for the observation o' that followed.
      selector_t: Action values `[A]` that choose the best action for o': the target network's, or
        with `double` the network's own.
      mask_t: Mask `[A]` of the actions that are allowed in o', or None.
      target_outputs_tm1: Outputs of the target network for o.
      mask_tm1: Mask `[A]` of the actions that are allowed in o, or None.
    """

    outputs_tm1: Array
    a_tm1: Array
    r_t: Array
    discount_t: Array
    outputs_t: Array
    selector_t: Array
    mask_t: Array | None
    target_outputs_tm1: Array
    mask_tm1: Array | None


@dataclasses.dataclass(frozen=True, eq=False)
class ValueBasedAgent(OffPolicyAgent):
    """An agent that learns action values from replayed windows of n + 1 rows.

    It has a network, a target network and policies over action values. A subclass says what the
    network's outputs mean, by `output_shape` and `values`, and defines `example_loss`. The
    arguments are those of `DqnAgent`, except for its `td_loss`.

    With noisy layers in the network (`QNetwork(noisy_sigma=0.5)`), collecting draws noise for each
    row of each environment. An update draws it once for each application of the network, for the
    whole batch (Fortunato et al. 2018), and evaluation uses the mean weights.

    Raises:
      TypeError: if `specs`, the optimizer or a function is of another kind.
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

    roles: ClassVar = ("q",)
    target_roles: ClassVar = ("q",)

    # -- what a subclass defines

    @property
    def output_shape(self) -> tuple[int | None, ...]:
        """The shape of the network's output for one observation, None for any size."""
        return (self.specs.action.num_values,)

    def values(self, outputs: Array) -> Array:
        """Action values `[..., A]` of the network's outputs `[..., *output_shape]`."""
        return outputs

    @abc.abstractmethod
    def example_loss(self, example: ValueExample) -> tuple[Array, Array]:
        """The loss of one transition, and its TD error or another number that sets its priority."""

    # -- what they share

    @cached_property
    def policy(self) -> Policy:
        """The policy to evaluate and to deploy: greedy in the action values."""
        return GreedyPolicy(self.q_policy)

    @cached_property
    def collect_policy(self) -> Policy:
        """The policy that gathers experience: epsilon-greedy, with a noisy network's noise."""
        policy = EpsilonGreedyPolicy(self.q_policy, self.epsilon)
        return NoisyPolicy(policy) if self._is_noisy else policy

    @cached_property
    def q_policy(self) -> QPolicy:
        """The Boltzmann policy over the action values, from which the others are made."""
        return QPolicy(self.network, values=self.values)

    @cached_property
    def _is_noisy(self) -> bool:
        return draws_noise(self.network, split_action_mask(zeros(self.specs.observation))[0])

    def check_networks(self) -> None:
        """Raises a ValueError unless actions are discrete and the network fits."""
        name = type(self).__name__
        check_discrete(name, self.specs.action, "for continuous actions use SAC")
        self.check_network()

    def check_network(self) -> None:
        """Raises a ValueError unless the network maps observations to outputs."""
        check_values_network(self.network, self.specs, self.output_shape)

    def init_params(self, keys: Sequence[Array]) -> dict[str, Tree]:
        """The first parameters of the network, by role."""
        observation, _ = split_action_mask(zeros(self.specs.observation))
        return {"q": self.network.init(keys[0], observation)}

    def q_values(self, params: Tree, observation: Tree) -> Array:
        """Q of every action, `[..., num_actions]`; `params` are from `policy_params`."""
        return self.q_policy.q_values(params, observation)

    def value(self, params: Tree, observation: Tree) -> Array:
        """The greatest Q(observation, a) of an allowed action `[...]`.

        `params` are from `policy_params`.
        """
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
        *,
        shards: Shards | None = None,
    ) -> LossInfo:
        """The mean of weight x loss over windows `[B, n_step + 1, ...]`.

        `per_example["td_error"]` is `[B]`.
        """
        rows = to_transition(experience, self.gamma, weights)
        inputs, mask = split_action_mask(rows.observation)
        next_inputs, next_mask = split_action_mask(rows.next_observation)
        keys: list[Array | None] = [None] * 4
        if self._is_noisy:
            keys = [*jax.random.split(key, 3), jax.random.fold_in(key, 3)]
        outputs = partial(apply_network, self.network)
        online = params["q"]
        target = state.target_params["q"]
        outputs_tm1 = outputs(online, inputs, keys[0])
        outputs_t = outputs(target, next_inputs, keys[1])
        selector = outputs(online, next_inputs, keys[2]) if self.double else outputs_t
        example = ValueExample(
            outputs_tm1=outputs_tm1,
            a_tm1=rows.action,
            r_t=rows.reward,
            discount_t=rows.discount,
            outputs_t=outputs_t,
            selector_t=self.values(selector),
            mask_t=next_mask,
            target_outputs_tm1=outputs(target, inputs, keys[3]),
            mask_tm1=mask,
        )
        loss, td_error, q = self.example_losses(example)
        share = weighted_mean(rows.mask, weights)
        return LossInfo(
            weighted_mean(loss, weights, rows.mask),
            over_share({"q": weighted_mean(q, weights, rows.mask)}, share),
            {"td_error": jnp.where(rows.mask > 0, td_error, 0.0)},
            share,
        )

    def example_losses(self, example: ValueExample) -> tuple[Array, Array, Array]:
        """Losses, TD errors and values of the actions taken, each `[B]`, of B examples."""
        loss, td_error = jax.vmap(self.example_loss)(example)
        q = jax.vmap(losses.index)(self.values(example.outputs_tm1), example.a_tm1)
        return loss, td_error, q
