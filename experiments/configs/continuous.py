"""SAC, TD3 and DDPG, and SAC for discrete actions, as experiments: a configuration each, and the
agent that it describes.
"""

import dataclasses
from typing import Any

from ...agents import DdpgAgent, DiscreteSacAgent, SacAgent, Td3Agent, polyak
from ...envs.specs import EnvironmentSpecs
from ...networks import (
    ActorNetwork,
    CriticNetwork,
    DeterministicActor,
    QNetwork,
    TanhNormalActor,
    default_encoder,
)
from .base import OffPolicyConfig


@dataclasses.dataclass(frozen=True)
class SacConfig(OffPolicyConfig):
    """What `jax-agents train --run SAC` can be told; the defaults solve Pendulum-v1."""

    num_steps: int = 20_000
    steps_per_report: int = 200  # updates are slow: the first reports come soon
    batch_size: int = 256
    warmup_steps: int = 100
    hidden: tuple[int, ...] = (256, 256)
    tau: float = 0.005  # how far targets move to the critics with each update
    num_critics: int = 2
    temperature: float = 1.0  # at the start, if it is learned
    learn_temperature: bool = True
    target_entropy: float | None = None  # None: minus the number of actions


@dataclasses.dataclass(frozen=True)
class Td3Config(OffPolicyConfig):
    """Twin delayed DDPG; the defaults are RL Baselines3 Zoo's for Pendulum-v1, half of whose steps
    are random.
    """

    num_steps: int = 20_000
    gamma: float = 0.98
    batch_size: int = 256
    warmup_steps: int = 10_000
    hidden: tuple[int, ...] = (256, 256)
    tau: float = 0.005
    num_critics: int = 2
    actor_delay: int = 2  # updates of the critics for one of the actor and the targets
    target_noise: float | None = 0.2  # in units of half the actions' range; None: none
    target_noise_clip: float = 0.5
    exploration_noise: float = 0.1
    exploration_damping: float | None = None  # None: Gaussian noise; a number: Ornstein-Uhlenbeck's


@dataclasses.dataclass(frozen=True)
class DdpgConfig(OffPolicyConfig):
    """Deep deterministic policy gradient; the defaults are as `Td3Config`'s."""

    num_steps: int = 20_000
    gamma: float = 0.98
    batch_size: int = 256
    warmup_steps: int = 10_000
    hidden: tuple[int, ...] = (256, 256)
    tau: float = 0.005
    exploration_noise: float = 0.1
    exploration_damping: float | None = None


@dataclasses.dataclass(frozen=True)
class DiscreteSacConfig(OffPolicyConfig):
    """SAC for one discrete action; the defaults solve CartPole-v1."""

    num_steps: int = 100_000
    n_step: int = 3
    batch_size: int = 64
    steps_per_iteration: int = 4
    num_envs: int = 4
    hidden: tuple[int, ...] = (64, 64)
    tau: float = 0.02
    num_critics: int = 2
    temperature: float = 1.0
    learn_temperature: bool = True
    target_entropy_ratio: float = 0.7  # of the greatest entropy


def sac_agent(config: SacConfig, specs: EnvironmentSpecs) -> SacAgent:
    """The agent of a configuration, for an environment's specs.

    Raises:
      ValueError: if its actions are not continuous with finite bounds; so for TD3 and DDPG.
    """
    encoder = default_encoder(specs.observation)
    action: Any = specs.action
    return SacAgent(
        specs,
        TanhNormalActor(action, config.hidden, encoder),
        CriticNetwork(config.hidden, encoder),
        config.optimizer(),
        gamma=config.gamma,
        n_step=config.n_step,
        num_critics=config.num_critics,
        temperature=config.temperature,
        learn_temperature=config.learn_temperature,
        target_entropy=config.target_entropy,
        target_update=polyak(config.tau),
    )


def td3_agent(config: Td3Config, specs: EnvironmentSpecs) -> Td3Agent:
    """The agent of a configuration, for an environment's specs."""
    return Td3Agent(
        num_critics=config.num_critics,
        actor_delay=config.actor_delay,
        target_noise=config.target_noise,
        target_noise_clip=config.target_noise_clip,
        **_deterministic(config, specs),
    )


def ddpg_agent(config: DdpgConfig, specs: EnvironmentSpecs) -> DdpgAgent:
    """The agent of a configuration, for an environment's specs."""
    return DdpgAgent(**_deterministic(config, specs))


def discrete_sac_agent(config: DiscreteSacConfig, specs: EnvironmentSpecs) -> DiscreteSacAgent:
    """The agent of a configuration, for an environment's specs.

    Raises:
      ValueError: if its actions are not one discrete choice.
    """
    encoder = default_encoder(specs.observation)
    num_actions: Any = getattr(specs.action, "num_values", None)
    return DiscreteSacAgent(
        specs,
        ActorNetwork(specs.action, config.hidden, encoder),
        QNetwork(num_actions, config.hidden, encoder),
        config.optimizer(),
        gamma=config.gamma,
        n_step=config.n_step,
        num_critics=config.num_critics,
        temperature=config.temperature,
        learn_temperature=config.learn_temperature,
        target_entropy_ratio=config.target_entropy_ratio,
        target_update=polyak(config.tau),
    )


def _deterministic(config: Any, specs: EnvironmentSpecs) -> dict[str, Any]:
    """What TD3 and DDPG share."""
    encoder = default_encoder(specs.observation)
    action: Any = specs.action
    return {
        "specs": specs,
        "actor": DeterministicActor(action, config.hidden, encoder),
        "critic": CriticNetwork(config.hidden, encoder),
        "optimizer": config.optimizer(),
        "gamma": config.gamma,
        "n_step": config.n_step,
        "exploration_noise": config.exploration_noise,
        "exploration_damping": config.exploration_damping,
        "target_update": polyak(config.tau),
    }
