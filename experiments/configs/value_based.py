"""DQN and its family as experiments: a configuration each, on a page, and the agent that it
describes.
"""

import dataclasses
from typing import Any, Literal

import jax.numpy as jnp
import optax

from ...agents import CategoricalDqnAgent, DqnAgent, QrDqnAgent, RecurrentDqnAgent, losses, periodic
from ...envs.specs import EnvironmentSpecs
from ...networks import GRU, LSTM, QNetwork, RecurrentQNetwork, Sequential, default_encoder
from .base import ACTIVATIONS, Activation, OffPolicyConfig

_TD_LOSSES = {"huber": losses.huber, "squared": losses.squared}


@dataclasses.dataclass(frozen=True)
class ValueBasedConfig:
    """What all of them share beside `OffPolicyConfig`: layers, targets and exploration."""

    hidden: tuple[int, ...] = (120, 84)
    head_hidden: tuple[int, ...] = ()  # layers of each head, after those that heads share
    dueling: bool = False
    activation: Activation = "relu"
    double: bool = False
    target_update_period: int = 50  # updates
    epsilon_start: float = 1.0
    epsilon_end: float = 0.05
    epsilon_decay_steps: int = 40_000  # environment steps


@dataclasses.dataclass(frozen=True)
class DqnConfig(ValueBasedConfig, OffPolicyConfig):
    """What `jax-agents train --run DQN` can be told; the defaults solve CartPole-v1 in a minute or
    two.
    """

    learning_rate: float = 5e-4
    learning_rate_end: float | None = 1e-5
    steps_per_iteration: int = 4
    replay_capacity: int = 10_000
    td_loss: Literal["huber", "squared"] = "squared"
    noisy_sigma: float | None = None  # makes layers noisy, which explores; epsilon applies besides


@dataclasses.dataclass(frozen=True)
class C51Config(ValueBasedConfig, OffPolicyConfig):
    """Distributional DQN with atoms between two bounds.

    The defaults are CleanRL's for CartPole-v1, but for a learning rate that falls, ten times the
    replay and 3-step returns: without them, a run that has learned forgets at times, and whether it
    learns anew before training ends is chance. Where no return is negative,
    `num_atoms=51, v_min=0.0` are atoms as close together for half the work.
    """

    num_steps: int = 500_000
    learning_rate: float = 2.5e-4
    learning_rate_end: float | None = 0.0
    optimizer_eps: float = 0.01 / 128
    n_step: int = 3
    steps_per_iteration: int = 10
    warmup_steps: int = 10_000
    replay_capacity: int = 100_000
    epsilon_decay_steps: int = 240_000
    num_atoms: int = 101
    v_min: float = -100.0  # the returns that the first and the last atom stand for
    v_max: float = 100.0
    noisy_sigma: float | None = None


@dataclasses.dataclass(frozen=True)
class QrDqnConfig(ValueBasedConfig, OffPolicyConfig):
    """Distributional DQN with learned quantiles; the defaults, which solve CartPole-v1, began as RL
    Baselines3 Zoo's.

    Those left some seeds at 330. What made every seed learn: 3-step returns, twice the updates, a
    target copied once a round of updates, and a learning rate that falls: with a constant one a
    policy forgets and learns anew, and may be caught at a bad moment when training stops. 64 units
    do where the zoo has 256.
    """

    num_steps: int = 49_640
    learning_rate: float = 2.3e-3
    learning_rate_end: float | None = 0.0
    optimizer_eps: float = 0.01 / 64
    n_step: int = 3
    batch_size: int = 64
    steps_per_iteration: int = 256
    updates_per_iteration: int = 256
    hidden: tuple[int, ...] = (64, 64)
    target_update_period: int = 256
    epsilon_start: float = 0.88
    epsilon_end: float = 0.04
    epsilon_decay_steps: int = 7_000
    steps_per_report: int = 2_560
    num_quantiles: int = 10
    huber_param: float = 1.0
    noisy_sigma: float | None = None


@dataclasses.dataclass(frozen=True)
class R2d2Config(ValueBasedConfig, OffPolicyConfig):
    """Recurrent DQN, trained on sequences; after R2D2, but one process and small.

    With `observation_scale=(0.5, 0.05)` the defaults solve CartPole-v1-positions, CartPole without
    its velocities. What made them learn: no dense layer before the memory, wide inputs, and 3
    steps; with 1 it fell back from 300.
    """

    num_steps: int = 130_000
    learning_rate_end: float | None = 0.0
    optimizer_eps: float = 1e-5
    gamma: float = 0.98
    n_step: int = 3
    batch_size: int = 32
    steps_per_iteration: int = 16
    warmup_steps: int = 2_000
    num_envs: int = 8
    hidden: tuple[int, ...] = ()
    head_hidden: tuple[int, ...] = (64,)
    double: bool = True
    target_update_period: int = 100
    epsilon_decay_steps: int = 38_400
    steps_per_report: int = 1_600
    td_loss: Literal["huber", "squared"] = "squared"
    core: Literal["gru", "lstm"] = "gru"  # between the layers `hidden` and `head_hidden`
    core_size: int = 32
    sequence_length: int = 12  # rows of a sequence that are learned from
    burn_in: int = 4  # rows before them, for the memory alone
    stored_carry: bool = True  # start sequences with the memory that acting had, not with zeros
    observation_scale: tuple[float, ...] | None = (
        None  # vectors of observations are divided by it first
    )


def dqn_agent(config: DqnConfig, specs: EnvironmentSpecs) -> DqnAgent:
    """The agent of a configuration, for an environment's specs.

    Raises:
      ValueError: if its actions are not one discrete choice; so for the other functions here.
    """
    network = _network(config, specs, None, config.noisy_sigma)
    return DqnAgent(
        specs, network, config.optimizer(), td_loss=_TD_LOSSES[config.td_loss], **_shared(config)
    )


def c51_agent(config: C51Config, specs: EnvironmentSpecs) -> CategoricalDqnAgent:
    """The agent of a configuration, for an environment's specs."""
    network = _network(config, specs, config.num_atoms, config.noisy_sigma)
    return CategoricalDqnAgent(
        specs,
        network,
        config.optimizer(),
        v_min=config.v_min,
        v_max=config.v_max,
        **_shared(config),
    )


def qr_dqn_agent(config: QrDqnConfig, specs: EnvironmentSpecs) -> QrDqnAgent:
    """The agent of a configuration, for an environment's specs."""
    network = _network(config, specs, config.num_quantiles, config.noisy_sigma)
    return QrDqnAgent(
        specs, network, config.optimizer(), huber_param=config.huber_param, **_shared(config)
    )


def r2d2_agent(config: R2d2Config, specs: EnvironmentSpecs) -> RecurrentDqnAgent:
    """The agent of a configuration, for an environment's specs."""
    encoder = default_encoder(specs.observation)
    if config.observation_scale is not None:
        scale = jnp.asarray(config.observation_scale, jnp.float32)
        encoder = Sequential(
            [lambda observation: observation / scale, *([] if encoder is None else [encoder])]
        )
    network = RecurrentQNetwork(
        _num_actions(specs),
        {"gru": GRU, "lstm": LSTM}[config.core](config.core_size),
        config.hidden,
        head_hidden=config.head_hidden,
        dueling=config.dueling,
        encoder=encoder,
        activation=ACTIVATIONS[config.activation],
    )
    return RecurrentDqnAgent(
        specs,
        network,
        config.optimizer(),
        td_loss=_TD_LOSSES[config.td_loss],
        sequence_length=config.sequence_length,
        burn_in=config.burn_in,
        stored_carry=config.stored_carry,
        **_shared(config),
    )


def _shared(config: Any) -> dict[str, Any]:
    """The arguments that all agents of the family take."""
    return {
        "gamma": config.gamma,
        "n_step": config.n_step,
        "double": config.double,
        "epsilon": optax.linear_schedule(
            config.epsilon_start, config.epsilon_end, config.updates(config.epsilon_decay_steps)
        ),
        "target_update": periodic(config.target_update_period),
    }


def _network(
    config: Any, specs: EnvironmentSpecs, num_atoms: int | None, noisy_sigma: float | None
) -> QNetwork:
    return QNetwork(
        _num_actions(specs),
        config.hidden,
        default_encoder(specs.observation),
        ACTIVATIONS[config.activation],
        head_hidden=config.head_hidden,
        dueling=config.dueling,
        num_atoms=num_atoms,
        noisy_sigma=noisy_sigma,
    )


def _num_actions(specs: EnvironmentSpecs) -> Any:
    return getattr(specs.action, "num_values", None)
