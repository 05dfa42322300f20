"""Synchronous actors: PPO or A2C learns from one slice of each, made with the newest parameters,
while they wait.

python examples/ppo.py --num-actors 2
python examples/ppo.py --algorithm A2C
"""

import argparse
import dataclasses
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jax_agents.drivers import ParallelDriver
from jax_agents.envs import gym
from jax_agents.evaluation import compute_avg_return
from jax_agents.experiments.configs.presets import PRESETS
from jax_agents.learners import learn


def main(
    algorithm: str = "PPO",
    env_name: str = "CartPole-v1",
    *,
    num_actors: int = 2,
    num_steps: int = 300_000,
    num_episodes: int = 20,
    seed: int = 0,
) -> float:
    """Trains; returns greedy episodes' mean return. The actors share the environments."""
    preset = PRESETS[algorithm].config
    config = dataclasses.replace(preset, num_steps=num_steps)
    num_envs = max(1, config.num_envs // max(1, num_actors))
    make_agent = config.agent
    env = gym.make(env_name)
    agent = make_agent(env.specs)
    state = agent.init(jax.random.key(seed))
    epochs, parts = config.num_epochs, config.num_minibatches
    update = jax.jit(
        lambda state, rows, key: learn(agent, state, rows, key, epochs, parts), donate_argnums=0
    )
    key, iteration, start, reported = jax.random.key(seed + 1), 0, time.time(), 0
    with ParallelDriver(
        partial(gym.make, env_name, num_envs=num_envs),
        lambda specs: config.agent(specs).collect_policy,
        num_actors=num_actors,
        num_rows=config.num_rows,
        max_in_flight=1,
        seed=seed,
    ) as driver:
        while driver.num_steps < num_steps:
            driver.publish(iteration, agent.policy_params(jax.tree.map(jnp.copy, state)), wait=True)
            segments = [block.segments() for block in driver.gather()]
            rows = jax.tree.map(lambda *parts: np.concatenate(parts), *segments)
            state, _ = update(state, rows, jax.random.fold_in(key, iteration))
            iteration += 1
            if driver.num_steps - reported >= num_steps // 10:
                reported = driver.num_steps
                print(
                    f"{time.time() - start:6.1f} s, {iteration} iterations, {driver.report()}",
                    flush=True,
                )
    average = compute_avg_return(
        env, agent.policy, num_episodes, agent.policy_params(state), seed=seed
    )
    print(
        f"greedy return {average:.1f} after {driver.num_steps} steps and "
        f"{time.time() - start:.1f} s"
    )
    return average


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--algorithm", choices=["PPO", "A2C"], default="PPO")
    parser.add_argument("--env", default="CartPole-v1")
    parser.add_argument("--num-actors", type=int, default=2)
    parser.add_argument("--num-steps", type=int, default=300_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    main(
        given.algorithm,
        given.env,
        num_actors=given.num_actors,
        num_steps=given.num_steps,
        seed=given.seed,
    )
