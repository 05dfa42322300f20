"""PureJaxRL's PPO: its own `ppo.py`, jitted, whole trainings in its default configuration, silent.

Its `wrappers.py` imports brax and navix for wrappers that CartPole does not use; modules without
content stand in for them.
"""

import sys
import types
from collections.abc import Callable

NAME = "PureJaxRL"
PACKAGES = ["gymnax", "distrax", "jax", "jaxlib"]


def setup(source: str, num_envs: int, num_steps: int) -> Callable[[int], int]:
    for name in ("brax", "brax.envs", "brax.envs.wrappers", "brax.envs.wrappers.training", "navix"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["brax"].envs = sys.modules["brax.envs"]
    training = sys.modules["brax.envs.wrappers.training"]
    training.EpisodeWrapper = training.AutoResetWrapper = None
    sys.path.insert(0, source)
    import jax
    from ppo import make_train

    config = {
        "LR": 2.5e-4,
        "NUM_ENVS": num_envs,
        "NUM_STEPS": 128,
        "TOTAL_TIMESTEPS": num_steps,
        "UPDATE_EPOCHS": 4,
        "NUM_MINIBATCHES": 4,
        "GAMMA": 0.99,
        "GAE_LAMBDA": 0.95,
        "CLIP_EPS": 0.2,
        "ENT_COEF": 0.01,
        "VF_COEF": 0.5,
        "MAX_GRAD_NORM": 0.5,
        "ACTIVATION": "tanh",
        "ENV_NAME": "CartPole-v1",
        "ANNEAL_LR": True,
        "DEBUG": False,
    }
    train = jax.jit(make_train(config))
    rows, seed = config["NUM_UPDATES"] * num_envs * 128, 0

    def run(steps: int) -> int:
        nonlocal seed
        done = 0
        while done < steps:
            jax.block_until_ready(train(jax.random.PRNGKey(seed)))
            seed += 1
            done += rows
        return done

    return run
