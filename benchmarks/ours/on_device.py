"""Our DQN on device: a CartPole in JAX, acting, replay and updates in one compiled loop."""

from collections.abc import Callable
from functools import partial

NAME = "jax_agents"
PACKAGES = ["jax-agents", "jax", "jaxlib"]
CHUNK = 5_000  # rows and updates in one call


def setup() -> Callable[[int], int]:
    import jax
    import optax

    from jax_agents import agents, envs, learners, networks

    env = envs.classic.CartPole()
    network = networks.QNetwork(env.specs.action.num_values, hidden=(100, 50))
    agent = agents.DqnAgent(env.specs, network, optax.adam(1e-3))
    loop = learners.OffPolicyScan(agent, env, batch_size=64, capacity=100_000, warmup_rows=1000)
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
