"""Configurations of SAC, TD3 and DDPG, and of SAC for discrete actions."""

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
from .checking import Count, Fraction, NotNegative, Positive, Sizes
from .off_policy import OffPolicyConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class SacConfig(OffPolicyConfig):
    """Settings of `jax-agents train --run SAC`; the defaults solve Pendulum-v1.

    See `agents.SacAgent`.
    """

    algorithm: str = "SAC"
    num_steps: Count = 20_000
    steps_per_report: Count = 200  # updates are slow: the first reports come soon
    batch_size: Count = 256
    warmup_steps: Count = 100
    hidden: Sizes = (256, 256)
    tau: Fraction = 0.005  # how far targets move to the critics with each update
    num_critics: Count = 2
    temperature: Positive = 1.0  # at the start, if it is learned
    learn_temperature: bool = True
    target_entropy: float | None = None  # None: minus the number of actions

    def agent(self, specs: EnvironmentSpecs) -> SacAgent:
        """The agent, for an environment's specs; see `Config.agent`."""
        encoder = default_encoder(specs.observation)
        action: Any = specs.action
        return SacAgent(
            specs,
            TanhNormalActor(action, self.hidden, encoder),
            CriticNetwork(self.hidden, encoder),
            self.optimizer(),
            gamma=self.gamma,
            n_step=self.n_step,
            num_critics=self.num_critics,
            temperature=self.temperature,
            learn_temperature=self.learn_temperature,
            target_entropy=self.target_entropy,
            target_update=polyak(self.tau),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class DdpgConfig(OffPolicyConfig):
    """Settings of DDPG; the defaults are as those of `Td3Config`."""

    algorithm: str = "DDPG"
    num_steps: Count = 20_000
    gamma: Fraction = 0.98
    batch_size: Count = 256
    warmup_steps: Count = 10_000
    hidden: Sizes = (256, 256)
    tau: Fraction = 0.005
    exploration_noise: NotNegative = 0.1
    exploration_damping: NotNegative | None = None  # None: Gaussian; a number: Ornstein-Uhlenbeck

    def agent(self, specs: EnvironmentSpecs) -> Td3Agent:
        """The agent, for an environment's specs; see `Config.agent`."""
        return DdpgAgent(**self._agent_options(specs))

    def _agent_options(self, specs: EnvironmentSpecs) -> dict[str, Any]:
        """The arguments that TD3 and DDPG share."""
        encoder = default_encoder(specs.observation)
        action: Any = specs.action
        return {
            "specs": specs,
            "actor": DeterministicActor(action, self.hidden, encoder),
            "critic": CriticNetwork(self.hidden, encoder),
            "optimizer": self.optimizer(),
            "gamma": self.gamma,
            "n_step": self.n_step,
            "exploration_noise": self.exploration_noise,
            "exploration_damping": self.exploration_damping,
            "target_update": polyak(self.tau),
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Td3Config(DdpgConfig):
    """Settings of TD3; the defaults are RL Baselines3 Zoo's for Pendulum-v1.

    Half of its steps are random.
    """

    algorithm: str = "TD3"
    num_critics: Count = 2
    actor_delay: Count = 2  # updates of the critics for one of the actor and the targets
    target_noise: NotNegative | None = 0.2  # in units of half the actions' range; None: none
    target_noise_clip: NotNegative = 0.5

    def agent(self, specs: EnvironmentSpecs) -> Td3Agent:
        """The agent, for an environment's specs; see `Config.agent`."""
        return Td3Agent(
            num_critics=self.num_critics,
            actor_delay=self.actor_delay,
            target_noise=self.target_noise,
            target_noise_clip=self.target_noise_clip,
            **self._agent_options(specs),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiscreteSacConfig(OffPolicyConfig):
    """Settings of SAC for one discrete action; the defaults solve CartPole-v1."""

    algorithm: str = "DISCRETE_SAC"
    num_steps: Count = 100_000
    n_step: Count = 3
    batch_size: Count = 64
    steps_per_iteration: Count = 4
    num_envs: Count = 4
    hidden: Sizes = (64, 64)
    tau: Fraction = 0.02
    num_critics: Count = 2
    temperature: Positive = 1.0
    learn_temperature: bool = True
    target_entropy_ratio: float = 0.7  # of the greatest entropy

    def agent(self, specs: EnvironmentSpecs) -> DiscreteSacAgent:
        """The agent, for an environment's specs; see `Config.agent`."""
        encoder = default_encoder(specs.observation)
        num_actions: Any = getattr(specs.action, "num_values", None)
        return DiscreteSacAgent(
            specs,
            ActorNetwork(specs.action, self.hidden, encoder),
            QNetwork(num_actions, self.hidden, encoder),
            self.optimizer(),
            gamma=self.gamma,
            n_step=self.n_step,
            num_critics=self.num_critics,
            temperature=self.temperature,
            learn_temperature=self.learn_temperature,
            target_entropy_ratio=self.target_entropy_ratio,
            target_update=polyak(self.tau),
        )
