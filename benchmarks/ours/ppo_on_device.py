"""Our PPO on device in PureJaxRL's configuration: whole trainings by `OnPolicyScan`."""

from collections.abc import Callable
from functools import partial

NAME = "jax_agents"
PACKAGES = ["jax-agents", "jax", "jaxlib"]


def setup(num_envs: int, num_steps: int) -> Callable[[int], int]:
    import jax
    import optax

    from jax_agents import agents, envs, learners, networks

    env, num_iterations = envs.classic.CartPole(), num_steps // (128 * num_envs)
    network = networks.ActorValueNetwork(
        networks.ActorNetwork(env.specs.action), networks.ValueNetwork()
    )
    learning_rate = optax.linear_schedule(2.5e-4, 0.0, 16 * num_iterations)
    optimizer = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(learning_rate, eps=1e-5))
    agent = agents.PpoAgent(
        env.specs,
        network,
        optimizer,
        entropy_coefficient=0.01,
        value_coefficient=0.25,
        value_clip=0.2,
    )
    loop = learners.OnPolicyScan(
        agent, env, num_envs=num_envs, num_rows=128, num_epochs=4, num_minibatches=4
    )
    train = jax.jit(partial(loop.train, num_iterations=num_iterations))
    seed = 0

    def run(steps: int) -> int:
        nonlocal seed
        done = 0
        while done < steps:
            _, metrics = train(jax.random.key(seed))
            seed += 1
            done += int(metrics["steps"][0])
        return done

    return run
