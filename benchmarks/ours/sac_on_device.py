"""Our SAC on device in rejax's configuration of Pendulum-v1.

It has networks of 64-64 with swish, batches of 256, and a replay of 10,000.

rejax's file also normalises observations, which our SAC does not do; in `peers/rejax_sac.py` it is
off, so that both do the same work.
"""

from collections.abc import Callable
from functools import partial

NAME = "jax_agents"
PACKAGES = ["jax-agents", "jax", "jaxlib"]
CHUNK = 500  # rows and updates in one call


def setup() -> Callable[[int], int]:
    import flax.linen as nn
    import jax
    import optax

    from jax_agents import agents, envs, learners, networks

    env = envs.classic.Pendulum()
    actor = networks.TanhNormalActor(env.specs.action, hidden=(64, 64), activation=nn.swish)
    critic = networks.CriticNetwork(hidden=(64, 64), activation=nn.swish)
    agent = agents.SacAgent(
        env.specs, actor, critic, optax.adam(1e-2), target_update=agents.polyak(0.02)
    )
    loop = learners.OffPolicyScan(agent, env, batch_size=256, capacity=10_000, warmup_rows=256)
    state = jax.jit(loop.init)(jax.random.key(0))
    train = jax.jit(partial(loop.run, num_iterations=CHUNK), donate_argnums=0)

    def run(iterations: int) -> int:
        nonlocal state
        done = 0
        while done < iterations:
            state, metrics = train(state)
            done += int(metrics["steps"][0])
        return done

    return run
