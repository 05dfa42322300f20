"""rejax's DQN: its own `train`, jitted.

It has one environment (gymnax), an update of batch 64 after each step, and no evaluation.
"""

from collections.abc import Callable

NAME = "rejax"
PACKAGES = ["rejax", "gymnax", "jax", "jaxlib"]
CHUNK = 2_000  # iterations in one call


def setup() -> Callable[[int], int]:
    import jax
    import rejax

    algorithm = rejax.DQN.create(
        env="CartPole-v1",
        num_envs=1,
        num_epochs=1,
        buffer_size=100_000,
        fill_buffer=1000,
        batch_size=64,
        learning_rate=1e-3,
        gamma=0.99,
        ddqn=False,
        target_update_freq=1000,
        polyak=0.0,
        eps_start=0.1,
        eps_end=0.1,
        agent_kwargs={"activation": "relu"},
        total_timesteps=CHUNK,
        eval_freq=CHUNK,
        skip_initial_evaluation=True,
    )
    network = algorithm.agent.clone(hidden_layer_sizes=(100, 50))  # `create` knows 64-64 only
    algorithm = algorithm.replace(agent=network, eval_callback=lambda algorithm, state, key: ())
    state = jax.jit(algorithm.init_state)(jax.random.key(0))
    train = jax.jit(lambda state: algorithm.train(train_state=state)[0], donate_argnums=0)

    def run(iterations: int) -> int:
        nonlocal state
        calls = -(-iterations // CHUNK)
        for _ in range(calls):
            state = train(state)
        jax.block_until_ready(state)
        return calls * CHUNK

    return run
