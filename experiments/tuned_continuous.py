"""Configurations of actor-critic agents with replay, each a function that builds the whole experiment.

Published ones have layers of 256 or 400 and 300 units. Those here are 64 wide, so that all gates together take minutes on two
cores.
"""

import optax

from ..agents import DdpgAgent, DiscreteSacAgent, SacAgent, Td3Agent, polyak
from ..envs.classic import CartPole, Pendulum
from ..learners.on_device import OnDevice
from ..networks import ActorNetwork, CriticNetwork, DeterministicActor, QNetwork, TanhNormalActor


def sac_pendulum() -> OnDevice:
    """rl-baselines3-zoo's: Stable-Baselines3's defaults with a learning rate of 1e-3; here 64 wide."""
    env, hidden = Pendulum(), (64, 64)
    networks = TanhNormalActor(env.specs.action, hidden), CriticNetwork(hidden)
    agent = SacAgent(env.specs, *networks, optax.adam(1e-3))
    return OnDevice(agent, env, batch_size=256, capacity=20_000, warmup_rows=100)


def td3_pendulum() -> OnDevice:
    """rl-baselines3-zoo's, half of whose steps are random; here 64 wide, with a higher learning rate for so small networks."""
    env, hidden = Pendulum(), (64, 64)
    networks = DeterministicActor(env.specs.action, hidden), CriticNetwork(hidden)
    agent = Td3Agent(env.specs, *networks, optax.adam(3e-3), gamma=0.98)
    return OnDevice(agent, env, batch_size=256, capacity=20_000, warmup_rows=10_000)


def ddpg_pendulum() -> OnDevice:
    """As `td3_pendulum`, with one critic and neither delay nor noise on target actions."""
    env, hidden = Pendulum(), (64, 64)
    networks = DeterministicActor(env.specs.action, hidden), CriticNetwork(hidden)
    agent = DdpgAgent(env.specs, *networks, optax.adam(3e-3), gamma=0.98)
    return OnDevice(agent, env, batch_size=256, capacity=20_000, warmup_rows=10_000)


def discrete_sac_cartpole() -> OnDevice:
    """Ours: four environments, an update for each step of all; three-step returns; 70 % of the greatest entropy."""
    env, hidden = CartPole(), (64, 64)
    networks = ActorNetwork(env.specs.action, hidden), QNetwork(2, hidden)
    agent = DiscreteSacAgent(
        env.specs,
        *networks,
        optax.adam(1e-3),
        n_step=3,
        target_entropy_ratio=0.7,
        target_update=polyak(0.02),
    )
    return OnDevice(agent, env, num_envs=4, batch_size=64, capacity=100_000, warmup_rows=250)
