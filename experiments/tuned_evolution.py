"""Published configurations of evolution strategies, each a function that builds the whole experiment."""

import flax.linen as nn
import optax

from ..agents.es import EsAgent
from ..envs.classic import CartPole
from ..learners.evolution import Evolution
from ..networks.actor import ActorNetwork


def es_cartpole() -> Evolution:
    """gymnax-blines' OpenES, with one episode for each member instead of 20: 60 generations of at most 50,000 steps."""
    env = CartPole()
    agent = EsAgent(
        env.specs,
        ActorNetwork(env.specs.action, hidden=(64, 64), activation=nn.relu),
        optax.adam(optax.exponential_decay(0.04, 1, 0.999)),
        population_size=100,
        sigma=optax.exponential_decay(0.03, 1, 0.999, end_value=0.01),
    )
    return Evolution(agent, env, max_steps=500)
