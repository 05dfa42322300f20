"""Published configurations of value-based agents, each a function that builds the whole experiment."""

import optax

from ..agents import DqnAgent, losses, periodic
from ..envs.classic import CartPole
from ..learners.on_device import OnDevice
from ..networks import QNetwork


def dqn_cartpole_cleanrl() -> OnDevice:
    """CleanRL's `dqn.py`: 500,000 steps, of which the first half explores; an update after every 10 steps."""
    env = CartPole()
    agent = DqnAgent(
        env.specs,
        QNetwork(2, hidden=(120, 84)),
        optax.adam(2.5e-4),
        epsilon=optax.linear_schedule(1.0, 0.05, 24_000),
        td_loss=losses.squared,
        target_update=periodic(50),
    )
    return OnDevice(agent, env, rows_per_iteration=10, batch_size=128, capacity=10_000, warmup_rows=10_000)
