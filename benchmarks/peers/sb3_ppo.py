"""Stable-Baselines3's PPO.

`learn` over 8 environments in one process, 128 steps, 4 epochs of 4 minibatches, no logging.
"""

from collections.abc import Callable

NAME = "Stable-Baselines3"
PACKAGES = ["stable-baselines3", "torch", "gymnasium"]
NUM_ENVS = 8
NUM_STEPS = 128


def setup() -> Callable[[int], int]:
    import torch
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env

    torch.set_num_threads(1)  # as in sb3.py; it was measured for DQN only
    model = PPO(
        "MlpPolicy",  # 64-64 with tanh for the actor, and again for the value
        make_vec_env("CartPole-v1", NUM_ENVS, seed=0),
        learning_rate=3e-4,
        n_steps=NUM_STEPS,
        batch_size=NUM_ENVS * NUM_STEPS // 4,
        n_epochs=4,
        gamma=0.99,
        gae_lambda=0.95,
        clip_range=0.2,
        vf_coef=0.5,
        max_grad_norm=0.5,
        seed=0,
        device="cpu",
        verbose=0,
    )
    model.learn(NUM_ENVS * NUM_STEPS, log_interval=None)

    def run(iterations: int) -> int:
        before = model.num_timesteps
        model.learn(iterations, log_interval=None, reset_num_timesteps=False)
        return model.num_timesteps - before

    return run
