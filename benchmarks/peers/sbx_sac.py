"""SBX's SAC with its defaults (256-256, batches of 256).

It makes a gradient step after each environment step, without logging.

With asynchronous dispatch, as JAX has it: 9 % faster than without.
"""

from collections.abc import Callable

NAME = "SBX"
PACKAGES = ["sbx-rl", "stable-baselines3", "jax", "gymnasium"]


def setup() -> Callable[[int], int]:
    import gymnasium
    from sbx import SAC

    model = SAC(
        "MlpPolicy",
        gymnasium.make("Pendulum-v1"),
        learning_rate=3e-4,
        buffer_size=1_000_000,
        learning_starts=1000,
        batch_size=256,
        train_freq=1,
        gradient_steps=1,
        policy_kwargs={"net_arch": [256, 256]},
        seed=0,
        verbose=0,
    )
    model.learn(1000, log_interval=None)

    def run(iterations: int) -> int:
        before = model.num_timesteps
        model.learn(iterations, log_interval=None, reset_num_timesteps=False)
        return model.num_timesteps - before

    return run
