"""Our DQN in a Python loop over gymnasium, with the in-process replay."""

from collections.abc import Callable

NAME = "jax_agents"
PACKAGES = ["jax-agents", "jax", "gymnasium"]


def setup() -> Callable[[int], int]:
    import jax
    import optax

    from jax_agents import agents, envs, learners, networks, replay

    # docs/performance.md, "In a Python loop on a CPU"
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    env = envs.gym.make("CartPole-v1")
    network = networks.QNetwork(env.specs.action.num_values, hidden=(100, 50))
    agent = agents.DqnAgent(env.specs, network, optax.adam(1e-3))
    buffer = replay.HostReplay(
        agent.collect_data_spec, capacity=100_000, sequence_length=agent.train_sequence_length
    )
    loop = learners.OffPolicyLoop(agent, env, buffer, batch_size=64, key=jax.random.key(0), seed=0)
    loop.warm_up(num_steps=1000)

    def run(iterations: int) -> int:
        loop.run(iterations)
        return iterations

    return run
