"""Acting in gymnasium's CartPole, directly: a compiled policy, a step, and a row for a list."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from .common import Run, dense, init_dense


def act_and_step() -> Run:
    """Chooses epsilon-greedy actions of a Q-network and steps the environment."""
    env = gymnasium.make("CartPole-v1", disable_env_checker=True)
    params = init_dense(jax.random.key(0), (4, 100, 50, 2))
    key = jax.random.key(1)

    @jax.jit
    def act(params, observation, row):
        chance, coin = jax.random.uniform(jax.random.fold_in(key, row), (2,))
        greedy = dense(params, observation).argmax()
        return jnp.where(chance < 0.1, coin < 0.5, greedy)

    observation, _ = env.reset(seed=0)
    ended = False
    count = 0

    def run(n: int) -> int:
        nonlocal observation, ended, count
        rows = []
        for _ in range(n):
            action = int(act(params, observation, np.int32(count)))
            if ended:
                following, _ = env.reset()
                row = (observation, action, 0.0, 1.0, True)
                ended = False
            else:
                following, reward, terminated, truncated, _ = env.step(action)
                row = (observation, action, reward, 1.0 - terminated, False)
                ended = terminated or truncated
            rows.append(row)
            observation = following
            count += 1
        assert len(rows) == n
        return n

    return run
