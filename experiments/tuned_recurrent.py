"""CartPole without its velocities, learned with memory and without; each a function that builds the whole experiment."""

from typing import Any

import jax.numpy as jnp
import optax

from ..agents import DqnAgent, PpoAgent, RecurrentDqnAgent, losses, periodic
from ..envs import select_observation
from ..envs.classic import CartPole
from ..envs.environment import JaxEnvironment
from ..envs.types import Array
from ..learners import OnDevice, OnPolicy
from ..networks import (
    GRU,
    LSTM,
    ActorNetwork,
    ActorValueNetwork,
    QNetwork,
    RecurrentActorValueNetwork,
    RecurrentQNetwork,
    Sequential,
    ValueNetwork,
)


def positions_only() -> JaxEnvironment:
    """CartPole-v1 that shows the cart's position and the pole's angle, and hides both velocities."""
    return select_observation(CartPole(), (0, 2))


def recurrent_dqn_cartpole() -> OnDevice:
    """Three-step double recurrent DQN with stored carries, after R2D2 but small: 130,000 steps, 32 sequences after every 16.

    What made it learn: no dense layer before the memory, wide inputs, and 3 steps; with 1 it fell back from 300.
    """
    env = positions_only()
    agent = RecurrentDqnAgent(
        env.specs,
        RecurrentQNetwork(2, core=GRU(32), hidden=(), head_hidden=(64,), encoder=Sequential([_widened])),
        sequence_length=12,
        burn_in=4,
        **_dqn_options(),
    )
    return OnDevice(
        agent, env, num_envs=8, rows_per_iteration=2, batch_size=32, warmup_rows=250, warmup_policy=agent.collect_policy
    )


def memoryless_dqn_cartpole() -> OnDevice:
    """The same without memory, with as many rows in each update: what cannot solve the task."""
    env = positions_only()
    agent = DqnAgent(env.specs, QNetwork(2, hidden=(64, 64), encoder=Sequential([_widened])), **_dqn_options())
    return OnDevice(agent, env, num_envs=8, rows_per_iteration=2, batch_size=384, warmup_rows=250)


def recurrent_ppo_cartpole() -> OnPolicy:
    """rl-baselines3-zoo's: as its PPO for CartPole-v1, with an LSTM each for actor and value, and all normalised."""
    env = positions_only()
    network = RecurrentActorValueNetwork(
        ActorNetwork(env.specs.action, hidden=(64,)), ValueNetwork(hidden=(64,)), core=LSTM(64), value_core=LSTM(64)
    )
    return _ppo(env, network)


def memoryless_ppo_cartpole() -> OnPolicy:
    """The same without memory: what cannot solve the task."""
    env = positions_only()
    return _ppo(env, ActorValueNetwork(ActorNetwork(env.specs.action), ValueNetwork()))


def _widened(observation: Array) -> Array:
    """Position and angle in fifths of their limits or so: velocities are small differences of them."""
    return observation / jnp.array([0.5, 0.05])


def _dqn_options() -> dict[str, Any]:
    return {
        "optimizer": optax.adam(optax.linear_schedule(1e-3, 0.0, 8_000), eps=1e-5),
        "gamma": 0.98,
        "n_step": 3,
        "double": True,
        "epsilon": optax.linear_schedule(1.0, 0.05, 2_400),
        "target_update": periodic(100),
        "td_loss": losses.squared,
    }


def _ppo(env: JaxEnvironment, network: Any) -> OnPolicy:
    agent = PpoAgent(
        env.specs,
        network,
        optax.chain(optax.clip_by_global_norm(0.5), optax.adam(optax.linear_schedule(1e-3, 0.0, 7_800), eps=1e-5)),
        gamma=0.98,
        lambda_=0.8,
        clip_ratio=optax.linear_schedule(0.2, 0.0, 7_800),
        normalize_observations=True,
        normalize_rewards=True,
    )
    return OnPolicy(agent, env, num_envs=8, num_rows=32, num_epochs=20, num_minibatches=1)
