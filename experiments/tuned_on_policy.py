"""Published configurations of on-policy agents, each a function that builds the whole experiment."""

import optax

from ..agents.ppo import PpoAgent
from ..envs.classic import CartPole
from ..envs.environment import JaxEnvironment
from ..learners.on_policy import OnPolicy
from ..networks.actor import ActorNetwork
from ..networks.value import ActorValueNetwork, ValueNetwork


def separate_towers(env: JaxEnvironment) -> ActorValueNetwork:
    """Two tanh networks of 64 and 64 units that share nothing."""
    return ActorValueNetwork(ActorNetwork(env.specs.action), ValueNetwork())


def ppo_cartpole_cleanrl() -> OnPolicy:
    """CleanRL's `ppo.py`, and PureJaxRL's: 500,000 steps, 970 iterations of 16 updates."""
    env = CartPole()
    optimizer = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(optax.linear_schedule(2.5e-4, 0.0, 15_520), eps=1e-5))
    agent = PpoAgent(
        env.specs, separate_towers(env), optimizer, entropy_coefficient=0.01, value_coefficient=0.25, value_clip=0.2
    )
    return OnPolicy(agent, env, num_envs=4, num_rows=128, num_epochs=4, num_minibatches=4)


def ppo_cartpole_zoo() -> OnPolicy:
    """rl-baselines3-zoo's: 100,000 steps, 390 iterations of 20 updates of the whole batch."""
    env = CartPole()
    optimizer = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(optax.linear_schedule(1e-3, 0.0, 7_800), eps=1e-5))
    agent = PpoAgent(
        env.specs, separate_towers(env), optimizer, gamma=0.98, lambda_=0.8, clip_ratio=optax.linear_schedule(0.2, 0.0, 7_800)
    )
    return OnPolicy(agent, env, num_envs=8, num_rows=32, num_epochs=20, num_minibatches=1)
