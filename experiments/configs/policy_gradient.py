"""PPO, A2C, REINFORCE, IMPALA and APPO as experiments: a configuration each, on a page, and the
agent that it describes.
"""

import dataclasses
from typing import Any, Literal

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
from .base import ACTIVATIONS, Activation, OnPolicyConfig, clipped


@dataclasses.dataclass(frozen=True)
class PpoConfig(OnPolicyConfig):
    """What `jax-agents train --run PPO` can be told; the defaults are CleanRL's, which solve
    CartPole-v1.
    """

    learning_rate: float = 2.5e-4
    learning_rate_end: float | None = 0.0
    entropy_coefficient: float = 0.01
    value_coefficient: float = 0.25  # of the squared error, which has no half
    num_envs: int = 4
    num_epochs: int = 4
    num_minibatches: int = 4
    lambda_: float = 0.95
    clip_ratio: float | None = 0.2  # None: not clipped
    clip_ratio_end: float | None = None  # reached as the learning rate's end is; None: constant
    value_clip: float | None = 0.2  # None: not clipped
    kl_target: float | None = (
        None  # a penalty on the KL divergence that adapts to reach it; None: none
    )
    initial_kl_beta: float = 1.0
    advantages: Literal["minibatch", "batch", "none"] = (
        "minibatch"  # over what they are standardised
    )
    lstm_size: int | None = (
        None  # units of memory before the hidden layers, for policy and value each; None: no memory
    )


@dataclasses.dataclass(frozen=True)
class A2cConfig(OnPolicyConfig):
    """Advantage actor-critic with RMSProp; the defaults are Stable-Baselines3's, which solve
    CartPole-v1.
    """

    learning_rate: float = 7e-4
    num_rows: int = 5
    iterations_per_report: int = 125
    lambda_: float = 1.0
    rmsprop_decay: float = 0.99


@dataclasses.dataclass(frozen=True)
class ReinforceConfig(OnPolicyConfig):
    """REINFORCE; the defaults solve CartPole-v1. Give an iteration rows for several whole
    episodes.
    """

    num_steps: int = 368_640
    activation: Activation = "relu"
    learning_rate: float = 1e-2
    learning_rate_end: float | None = 0.0
    optimizer_eps: float = 1e-8
    max_grad_norm: float | None = None
    gamma: float = 0.98
    num_rows: int = 512
    iterations_per_report: int = 1
    baseline: bool = False  # a learned value; without one value_coefficient means nothing
    normalize_returns: bool = True


@dataclasses.dataclass(frozen=True)
class ImpalaConfig(OnPolicyConfig):
    """Actor-critic with V-trace; the defaults are RLlib's for CartPole-v1, in one process."""

    num_steps: int = 2_000_000
    learning_rate: float = 5e-4
    optimizer_eps: float = 1e-8
    max_grad_norm: float | None = 40.0
    value_coefficient: float = 0.05
    normalize_observations: bool = True
    num_envs: int = 10
    num_rows: int = 50
    lambda_: float = 1.0
    clip_rho: float = 1.0
    clip_c: float = 1.0
    clip_ratio: float | None = None  # a number: APPO, whose policy's loss is PPO's, clipped to it


def ppo_agent(config: PpoConfig, specs: EnvironmentSpecs) -> PpoAgent:
    """The agent of a configuration, for an environment's specs."""
    return PpoAgent(
        specs,
        actor_value(config, specs) if config.lstm_size is None else _with_memory(config, specs),
        config.optimizer(),
        lambda_=config.lambda_,
        clip_ratio=None
        if config.clip_ratio is None
        else config.schedule(config.clip_ratio, config.clip_ratio_end),
        kl_target=config.kl_target,
        initial_kl_beta=config.initial_kl_beta,
        value_coefficient=config.value_coefficient,
        value_clip=config.value_clip,
        advantages=config.advantages,
        **shared(config),
    )


def a2c_agent(config: A2cConfig, specs: EnvironmentSpecs) -> A2cAgent:
    """The agent of a configuration, for an environment's specs."""
    rate = config.schedule(config.learning_rate, config.learning_rate_end)
    rmsprop = optax.rmsprop(
        rate, decay=config.rmsprop_decay, eps=config.optimizer_eps, eps_in_sqrt=False
    )
    optimizer = clipped(config.max_grad_norm, rmsprop)
    network = actor_value(config, specs)
    return A2cAgent(
        specs,
        network,
        optimizer,
        lambda_=config.lambda_,
        value_coefficient=config.value_coefficient,
        **shared(config),
    )


def reinforce_agent(config: ReinforceConfig, specs: EnvironmentSpecs) -> ReinforceAgent:
    """The agent of a configuration, for an environment's specs."""
    network = actor_value(config, specs)
    return ReinforceAgent(
        specs,
        network if config.baseline else network.actor,
        config.optimizer(),
        normalize_returns=config.normalize_returns,
        value_coefficient=config.value_coefficient,
        **shared(config),
    )


def impala_agent(config: ImpalaConfig, specs: EnvironmentSpecs) -> ImpalaAgent:
    """The agent of a configuration, for an environment's specs."""
    return ImpalaAgent(
        specs,
        actor_value(config, specs),
        config.optimizer(),
        lambda_=config.lambda_,
        clip_rho=config.clip_rho,
        clip_c=config.clip_c,
        value_coefficient=config.value_coefficient,
        clip_ratio=config.clip_ratio,
        **shared(config),
    )


def actor_value(config: OnPolicyConfig, specs: EnvironmentSpecs) -> ActorValueNetwork:
    """A policy and a value that share nothing, as the configuration says."""
    encoder, activation = default_encoder(specs.observation), ACTIVATIONS[config.activation]
    actor = ActorNetwork(specs.action, config.hidden, encoder, activation)
    return ActorValueNetwork(actor, ValueNetwork(config.hidden, encoder, activation))


def _with_memory(config: PpoConfig, specs: EnvironmentSpecs) -> RecurrentActorValueNetwork:
    activation = ACTIVATIONS[config.activation]
    size: Any = config.lstm_size
    return RecurrentActorValueNetwork(
        ActorNetwork(specs.action, config.hidden, activation=activation),
        ValueNetwork(config.hidden, activation=activation),
        core=LSTM(size),
        value_core=LSTM(size),
        encoder=default_encoder(specs.observation),
    )


def shared(config: OnPolicyConfig) -> dict[str, Any]:
    """The arguments that all on-policy agents take."""
    return {
        "gamma": config.gamma,
        "entropy_coefficient": config.entropy_coefficient,
        "normalize_observations": config.normalize_observations,
        "normalize_rewards": config.normalize_rewards,
    }
