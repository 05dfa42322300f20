"""SBX's DQN (Stable-Baselines3's loop, JAX networks): a batch of 64 after each environment step."""

from collections.abc import Callable

NAME = "SBX"
PACKAGES = ["sbx-rl", "stable-baselines3", "jax", "gymnasium"]


def setup() -> Callable[[int], int]:
    import gymnasium
    import jax
    from sbx import DQN

    jax.config.update("jax_cpu_enable_async_dispatch", False)  # as ours: see docs/performance.md
    model = DQN(
        "MlpPolicy",
        gymnasium.make("CartPole-v1"),
        learning_rate=1e-3,
        buffer_size=100_000,
        learning_starts=1000,
        batch_size=64,
        train_freq=1,
        gradient_steps=1,
        exploration_initial_eps=0.1,
        exploration_final_eps=0.1,
        policy_kwargs={"net_arch": [100, 50]},
        seed=0,
        verbose=0,
    )
    model.learn(1000, log_interval=None)

    def run(iterations: int) -> int:
        before = model.num_timesteps
        model.learn(iterations, log_interval=None, reset_num_timesteps=False)
        return model.num_timesteps - before

    return run
