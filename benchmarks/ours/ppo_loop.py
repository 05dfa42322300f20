"""Our PPO in a Python loop over gymnasium.

It has 8 environments x 128 rows, 4 epochs of 4 minibatches, and networks of 64-64.
"""

from collections.abc import Callable

NAME = "jax_agents"
PACKAGES = ["jax-agents", "jax", "gymnasium"]
NUM_ENVS = 8
NUM_ROWS = 128


def setup() -> Callable[[int], int]:
    import jax
    import optax
    from flax import linen as nn

    from jax_agents import agents, envs, learners, networks

    # docs/performance.md, "In a Python loop on a CPU"
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    env = envs.gym.make("CartPole-v1", NUM_ENVS)
    network = networks.ActorValueNetwork(
        networks.ActorNetwork(env.specs.action, hidden=(64, 64), activation=nn.tanh),
        networks.ValueNetwork(hidden=(64, 64), activation=nn.tanh),
    )
    optimizer = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(3e-4, eps=1e-5))
    agent = agents.PpoAgent(
        env.specs,
        network,
        optimizer,
        gamma=0.99,
        lambda_=0.95,
        clip_ratio=0.2,
        value_coefficient=0.5,
    )
    loop = learners.OnPolicyLoop(
        agent,
        env,
        num_rows=NUM_ROWS,
        num_epochs=4,
        num_minibatches=4,
        key=jax.random.key(0),
        seed=0,
    )

    def run(iterations: int) -> int:
        before = loop.driver.num_steps
        loop.run(-(-iterations // (NUM_ENVS * NUM_ROWS)))
        # the rows between two episodes are no environment steps
        return loop.driver.num_steps - before

    return run
