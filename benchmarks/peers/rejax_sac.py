"""rejax's SAC: its own `train`, jitted, as for Pendulum-v1 without normalisation and evaluation."""

from collections.abc import Callable

NAME = "rejax"
PACKAGES = ["rejax", "gymnax", "jax", "jaxlib"]
CHUNK = 500  # iterations in one call


def setup() -> Callable[[int], int]:
    import jax
    import rejax

    algorithm = rejax.SAC.create(
        env="Pendulum-v1",
        num_envs=1,
        num_epochs=1,
        buffer_size=10_000,
        fill_buffer=256,
        batch_size=256,
        learning_rate=1e-2,
        gamma=0.99,
        polyak=0.98,
        target_entropy_ratio=None,
        normalize_observations=False,  # ours does not either
        agent_kwargs={"activation": "swish"},
        total_timesteps=CHUNK,
        eval_freq=CHUNK,
        skip_initial_evaluation=True,
    )
    algorithm = algorithm.replace(eval_callback=lambda algorithm, state, key: ())
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
