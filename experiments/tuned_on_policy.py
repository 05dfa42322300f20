"""Published configurations of on-policy agents, each a function that builds the whole experiment."""

import flax.linen as nn
import optax

from ..agents.a2c import A2cAgent
from ..agents.impala import ImpalaAgent
from ..agents.ppo import PpoAgent
from ..agents.reinforce import ReinforceAgent
from ..envs.classic import CartPole, Pendulum
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


def ppo_pendulum() -> OnPolicy:
    """rejax's, for 500,000 steps instead of 150,000: 50 iterations of 100 updates."""
    env = Pendulum()
    network = ActorValueNetwork(ActorNetwork(env.specs.action, activation=nn.swish), ValueNetwork(activation=nn.swish))
    optimizer = optax.chain(optax.clip_by_global_norm(10.0), optax.adam(1e-3))
    agent = PpoAgent(env.specs, network, optimizer, gamma=0.995, normalize_observations=True)
    return OnPolicy(agent, env, num_envs=100, num_rows=100, num_epochs=10, num_minibatches=10)


def a2c_cartpole_zoo() -> OnPolicy:
    """rl-baselines3-zoo's, which are Stable-Baselines3's defaults: 500,000 steps, an update for every 40."""
    env = CartPole()
    optimizer = optax.chain(optax.clip_by_global_norm(0.5), optax.rmsprop(7e-4, decay=0.99, eps=1e-5, eps_in_sqrt=False))
    agent = A2cAgent(env.specs, separate_towers(env), optimizer)
    return OnPolicy(agent, env, num_envs=8, num_rows=5, num_epochs=1, num_minibatches=1)


def reinforce_cartpole() -> OnPolicy:
    """Ours: 370,000 steps, no baseline, returns normalised; one update for every 4,096 rows, since nothing bounds a second."""
    env = CartPole()
    network = ActorNetwork(env.specs.action, activation=nn.relu)
    agent = ReinforceAgent(env.specs, network, optax.adam(optax.linear_schedule(1e-2, 0.0, 90)), gamma=0.98)
    return OnPolicy(agent, env, num_envs=8, num_rows=512, num_epochs=1, num_minibatches=1)


def impala_cartpole() -> OnPolicy:
    """RLlib's tuned example, with 2,000,000 steps: an update for every 500, by actors whose parameters are 4 updates old."""
    env = CartPole()
    optimizer = optax.chain(optax.clip_by_global_norm(40.0), optax.adam(5e-4))
    agent = ImpalaAgent(env.specs, separate_towers(env), optimizer, value_coefficient=0.05, normalize_observations=True)
    return OnPolicy(agent, env, num_envs=10, num_rows=50, num_epochs=1, num_minibatches=1, policy_lag=4)
