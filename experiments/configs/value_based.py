"""Configurations of DQN and its family."""

import dataclasses
from typing import Any, Literal

import jax.numpy as jnp
import optax

from ...agents import (
    CategoricalDqnAgent,
    DqnAgent,
    QrDqnAgent,
    RecurrentDqnAgent,
    losses,
    periodic,
)
from ...envs.specs import EnvironmentSpecs
from ...networks import GRU, LSTM, QNetwork, RecurrentQNetwork, Sequential, default_encoder
from .base import ACTIVATIONS, Activation
from .checking import Count, CountFromZero, Fraction, NotNegative, Positive, Sizes
from .off_policy import OffPolicyConfig

_TD_LOSSES = {"huber": losses.huber, "squared": losses.squared}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ValueBasedConfig(OffPolicyConfig):
    """The settings that the family shares: layers, targets and exploration."""

    hidden: Sizes = (120, 84)
    head_hidden: Sizes = ()  # layers of each head, after those that heads share
    dueling: bool = False
    activation: Activation = "relu"
    double: bool = False
    target_update_period: Count = 50  # updates
    epsilon_start: Fraction = 1.0
    epsilon_end: Fraction = 0.05
    epsilon_decay_steps: Count = 40_000  # environment steps after the warm-up

    def _agent_options(self) -> dict[str, Any]:
        """The arguments that all agents of the family take."""
        num_updates = self.updates(self.epsilon_decay_steps)
        return {
            "optimizer": self.optimizer(),
            "gamma": self.gamma,
            "n_step": self.n_step,
            "double": self.double,
            "epsilon": optax.linear_schedule(self.epsilon_start, self.epsilon_end, num_updates),
            "target_update": periodic(self.target_update_period),
        }

    def _network(
        self, specs: EnvironmentSpecs, num_atoms: int | None, noisy_sigma: float | None
    ) -> QNetwork:
        return QNetwork(
            _num_actions(specs),
            self.hidden,
            default_encoder(specs.observation),
            ACTIVATIONS[self.activation],
            head_hidden=self.head_hidden,
            dueling=self.dueling,
            num_atoms=num_atoms,
            noisy_sigma=noisy_sigma,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class DqnConfig(ValueBasedConfig):
    """Settings of `jax-agents train --run DQN`; the defaults solve CartPole-v1 in a minute or two.

    See `agents.DqnAgent`.
    """

    algorithm: str = "DQN"
    learning_rate: Positive = 5e-4
    learning_rate_end: NotNegative | None = 1e-5
    steps_per_iteration: Count = 4
    replay_capacity: Count = 10_000
    td_loss: Literal["huber", "squared"] = "squared"
    noisy_sigma: NotNegative | None = None  # makes layers noisy; epsilon applies besides

    def agent(self, specs: EnvironmentSpecs) -> DqnAgent:
        """The agent, for an environment's specs; see `Config.agent`."""
        network = self._network(specs, None, self.noisy_sigma)
        td_loss = _TD_LOSSES[self.td_loss]
        return DqnAgent(specs, network, td_loss=td_loss, **self._agent_options())


@dataclasses.dataclass(frozen=True, kw_only=True)
class C51Config(ValueBasedConfig):
    """Settings of C51: DQN with distributions over atoms between two bounds.

    The defaults are CleanRL's for CartPole-v1, except for a learning rate that falls, ten times the
    replay and 3-step returns: without them, a run that has learned forgets at times, and whether it
    learns again before training ends is chance. Where no return is negative, `num_atoms=51,
    v_min=0.0` are atoms as close together for half the work.
    """

    algorithm: str = "C51"
    num_steps: Count = 500_000
    learning_rate: Positive = 2.5e-4
    learning_rate_end: NotNegative | None = 0.0
    optimizer_eps: Positive = 0.01 / 128
    n_step: Count = 3
    steps_per_iteration: Count = 10
    warmup_steps: Count = 10_000
    replay_capacity: Count = 100_000
    epsilon_decay_steps: Count = 240_000
    num_atoms: Count = 101
    v_min: float = -100.0  # the return that the first atom stands for
    v_max: float = 100.0  # the return that the last atom stands for
    noisy_sigma: NotNegative | None = None

    def agent(self, specs: EnvironmentSpecs) -> CategoricalDqnAgent:
        """The agent, for an environment's specs; see `Config.agent`."""
        network = self._network(specs, self.num_atoms, self.noisy_sigma)
        return CategoricalDqnAgent(
            specs, network, v_min=self.v_min, v_max=self.v_max, **self._agent_options()
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class QrDqnConfig(ValueBasedConfig):
    """Settings of QR-DQN: DQN with learned quantiles; the defaults solve CartPole-v1.

    They began as RL Baselines3 Zoo's, which left some seeds at 330. With 3-step returns, twice the
    updates, a target copied once a round of updates and a falling learning rate every seed learns:
    with a constant rate a policy forgets and learns again, and may be caught at a bad moment when
    training stops. 64 units do where the zoo has 256.
    """

    algorithm: str = "QRDQN"
    num_steps: Count = 49_640
    learning_rate: Positive = 2.3e-3
    learning_rate_end: NotNegative | None = 0.0
    optimizer_eps: Positive = 0.01 / 64
    n_step: Count = 3
    batch_size: Count = 64
    steps_per_iteration: Count = 256
    updates_per_iteration: Count = 256
    hidden: Sizes = (64, 64)
    target_update_period: Count = 256
    epsilon_start: Fraction = 0.88
    epsilon_end: Fraction = 0.04
    epsilon_decay_steps: Count = 7_000
    steps_per_report: Count = 2_560
    num_quantiles: Count = 10
    huber_param: NotNegative = 1.0
    noisy_sigma: NotNegative | None = None

    def agent(self, specs: EnvironmentSpecs) -> QrDqnAgent:
        """The agent, for an environment's specs; see `Config.agent`."""
        network = self._network(specs, self.num_quantiles, self.noisy_sigma)
        return QrDqnAgent(specs, network, huber_param=self.huber_param, **self._agent_options())


@dataclasses.dataclass(frozen=True, kw_only=True)
class R2d2Config(ValueBasedConfig):
    """Settings of recurrent DQN, trained on sequences; after R2D2, but one process and small.

    With `observation_scale=(0.5, 0.05)` the defaults solve CartPole-v1-positions, CartPole without
    its velocities. They learn since there is no dense layer before the memory, inputs are scaled
    up, and returns are over 3 steps; with 1 it fell back from 300.
    """

    algorithm: str = "R2D2"
    num_steps: Count = 130_000
    learning_rate_end: NotNegative | None = 0.0
    optimizer_eps: Positive = 1e-5
    gamma: Fraction = 0.98
    n_step: Count = 3
    batch_size: Count = 32
    steps_per_iteration: Count = 16
    warmup_steps: Count = 2_000
    num_envs: Count = 8
    hidden: Sizes = ()
    head_hidden: Sizes = (64,)
    double: bool = True
    target_update_period: Count = 100
    epsilon_decay_steps: Count = 38_400
    steps_per_report: Count = 1_600
    td_loss: Literal["huber", "squared"] = "squared"
    core: Literal["gru", "lstm"] = "gru"  # between the layers `hidden` and `head_hidden`
    core_size: Count = 32
    sequence_length: Count = 12  # rows of a sequence that are learned from
    burn_in: CountFromZero = 4  # rows before them, for the memory alone
    stored_carry: bool = True  # start sequences with the memory that acting had, not with zeros
    observation_scale: tuple[float, ...] | None = None  # observations are divided by it first

    def agent(self, specs: EnvironmentSpecs) -> RecurrentDqnAgent:
        """The agent, for an environment's specs; see `Config.agent`."""
        encoder = default_encoder(specs.observation)
        if self.observation_scale is not None:
            scale = jnp.asarray(self.observation_scale, jnp.float32)
            layers = [] if encoder is None else [encoder]
            encoder = Sequential([lambda observation: observation / scale, *layers])
        network = RecurrentQNetwork(
            _num_actions(specs),
            {"gru": GRU, "lstm": LSTM}[self.core](self.core_size),
            self.hidden,
            head_hidden=self.head_hidden,
            dueling=self.dueling,
            encoder=encoder,
            activation=ACTIVATIONS[self.activation],
        )
        return RecurrentDqnAgent(
            specs,
            network,
            td_loss=_TD_LOSSES[self.td_loss],
            sequence_length=self.sequence_length,
            burn_in=self.burn_in,
            stored_carry=self.stored_carry,
            **self._agent_options(),
        )


def _num_actions(specs: EnvironmentSpecs) -> Any:
    return getattr(specs.action, "num_values", None)
