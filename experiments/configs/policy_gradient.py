"""Configurations of PPO, A2C, REINFORCE, IMPALA and APPO."""

import dataclasses
from typing import Any, ClassVar, Literal

import optax

from ...agents import A2cAgent, ImpalaAgent, PpoAgent, ReinforceAgent
from ...envs.specs import EnvironmentSpecs
from ...networks import (
    LSTM,
    ActorNetwork,
    ActorValueNetwork,
    RecurrentActorValueNetwork,
    ValueNetwork,
    default_encoder,
)
from .base import ACTIVATIONS, Activation
from .checking import Count, Fraction, NotNegative, Positive
from .on_policy import OnPolicyConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class PpoConfig(OnPolicyConfig):
    """Settings of `jax-agents train --run PPO`; the defaults are CleanRL's for CartPole-v1.

    See `agents.PpoAgent`.
    """

    algorithm: str = "PPO"
    learning_rate: Positive = 2.5e-4
    learning_rate_end: NotNegative | None = 0.0
    entropy_coefficient: float = 0.01
    value_coefficient: NotNegative = 0.25  # of the squared error, which has no half
    num_envs: Count = 4
    num_epochs: Count = 4
    num_minibatches: Count = 4
    lambda_: Fraction = 0.95
    clip_ratio: Positive | None = 0.2  # None: not clipped
    clip_ratio_end: NotNegative | None = None  # reached as the rate's end is; None: constant
    value_clip: Positive | None = 0.2  # None: not clipped
    kl_target: Positive | None = None  # of a penalty that adapts to reach it; None: none
    initial_kl_beta: NotNegative = 1.0
    advantages: Literal["minibatch", "batch", "none"] = "minibatch"  # over what standardised
    lstm_size: Count | None = None  # units of memory, for policy and value each; None: no memory

    def agent(self, specs: EnvironmentSpecs) -> PpoAgent:
        """The agent, for an environment's specs; see `Config.agent`."""
        clip_ratio = self.clip_ratio
        if clip_ratio is not None:
            clip_ratio = self.schedule(clip_ratio, self.clip_ratio_end)
        return PpoAgent(
            specs,
            self._network(specs),
            self.optimizer(),
            lambda_=self.lambda_,
            clip_ratio=clip_ratio,
            kl_target=self.kl_target,
            initial_kl_beta=self.initial_kl_beta,
            value_clip=self.value_clip,
            advantages=self.advantages,
            **_agent_options(self),
        )

    def _network(self, specs: EnvironmentSpecs) -> ActorValueNetwork | RecurrentActorValueNetwork:
        if self.lstm_size is None:
            return _actor_value(self, specs)
        activation = ACTIVATIONS[self.activation]
        return RecurrentActorValueNetwork(
            ActorNetwork(specs.action, self.hidden, activation=activation),
            ValueNetwork(self.hidden, activation=activation),
            core=LSTM(self.lstm_size),
            value_core=LSTM(self.lstm_size),
            encoder=default_encoder(specs.observation),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class A2cConfig(OnPolicyConfig):
    """Settings of A2C with RMSProp; the defaults are Stable-Baselines3's for CartPole-v1."""

    algorithm: str = "A2C"
    learning_rate: Positive = 7e-4
    num_rows: Count = 5
    iterations_per_report: Count = 125
    lambda_: Fraction = 1.0
    rmsprop_decay: float = 0.99

    def agent(self, specs: EnvironmentSpecs) -> A2cAgent:
        """The agent, for an environment's specs; see `Config.agent`."""
        optimizer = self.with_rate(
            lambda rate: optax.rmsprop(
                rate, decay=self.rmsprop_decay, eps=self.optimizer_eps, eps_in_sqrt=False
            )
        )
        network = _actor_value(self, specs)
        return A2cAgent(specs, network, optimizer, lambda_=self.lambda_, **_agent_options(self))


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReinforceConfig(OnPolicyConfig):
    """Settings of REINFORCE; the defaults solve CartPole-v1.

    Give an iteration rows for several whole episodes.
    """

    algorithm: str = "PG"
    num_steps: Count = 368_640
    activation: Activation = "relu"
    learning_rate: Positive = 1e-2
    learning_rate_end: NotNegative | None = 0.0
    optimizer_eps: Positive = 1e-8
    max_grad_norm: Positive | None = None
    gamma: Fraction = 0.98
    num_rows: Count = 512
    iterations_per_report: Count = 1
    baseline: bool = False  # a learned value; without one value_coefficient means nothing
    normalize_returns: bool = True

    def agent(self, specs: EnvironmentSpecs) -> ReinforceAgent:
        """The agent, for an environment's specs; see `Config.agent`."""
        network = _actor_value(self, specs)
        return ReinforceAgent(
            specs,
            network if self.baseline else network.actor,
            self.optimizer(),
            normalize_returns=self.normalize_returns,
            **_agent_options(self),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImpalaConfig(OnPolicyConfig):
    """Settings of IMPALA and APPO; the defaults are RLlib's for CartPole-v1, in one process."""

    algorithm: str = "IMPALA"
    num_steps: Count = 2_000_000
    learning_rate: Positive = 5e-4
    optimizer_eps: Positive = 1e-8
    max_grad_norm: Positive | None = 40.0
    value_coefficient: NotNegative = 0.05
    normalize_observations: bool = True
    num_envs: Count = 10
    num_rows: Count = 50
    lambda_: Fraction = 1.0
    clip_rho: float = 1.0
    clip_c: float = 1.0
    clip_ratio: Positive | None = None  # a number: APPO, whose policy's loss is PPO's, clipped

    corrects_lag: ClassVar[bool] = True

    def agent(self, specs: EnvironmentSpecs) -> ImpalaAgent:
        """The agent, for an environment's specs; see `Config.agent`."""
        return ImpalaAgent(
            specs,
            _actor_value(self, specs),
            self.optimizer(),
            lambda_=self.lambda_,
            clip_rho=self.clip_rho,
            clip_c=self.clip_c,
            clip_ratio=self.clip_ratio,
            **_agent_options(self),
        )


def _actor_value(config: OnPolicyConfig, specs: EnvironmentSpecs) -> ActorValueNetwork:
    """A policy and a value that share nothing, as the configuration says."""
    encoder = default_encoder(specs.observation)
    activation = ACTIVATIONS[config.activation]
    actor = ActorNetwork(specs.action, config.hidden, encoder, activation)
    return ActorValueNetwork(actor, ValueNetwork(config.hidden, encoder, activation))


def _agent_options(config: OnPolicyConfig) -> dict[str, Any]:
    """The arguments that all on-policy agents take."""
    return {
        "gamma": config.gamma,
        "value_coefficient": config.value_coefficient,
        "entropy_coefficient": config.entropy_coefficient,
        "normalize_observations": config.normalize_observations,
        "normalize_rewards": config.normalize_rewards,
    }
