"""IMPALA (Espeholt et al. 2018): actors never wait for the learner, which corrects for their older
policies by V-trace.

python examples/impala.py --num-actors 2
python examples/impala.py --algorithm APPO
"""

import argparse
import dataclasses
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jax_agents.drivers import Block, ParallelDriver
from jax_agents.envs import gym
from jax_agents.evaluation import compute_avg_return
from jax_agents.experiments.configs.presets import PRESETS
from jax_agents.learners import learn


def main(
    algorithm: str = "IMPALA",
    env_name: str = "CartPole-v1",
    *,
    num_actors: int = 2,
    num_envs: int = 10,
    blocks_per_update: int = 1,
    num_steps: int | None = None,
    max_staleness: int | None = 20,
    num_episodes: int = 20,
    seed: int = 0,
) -> float:
    """Trains, by default for the preset's steps; returns the mean return of greedy episodes."""
    preset = PRESETS[algorithm].config
    config = preset if num_steps is None else dataclasses.replace(preset, num_steps=num_steps)
    make_agent = config.agent
    env = gym.make(env_name)
    agent = make_agent(env.specs)
    state = agent.init(jax.random.key(seed))
    passes = {"num_epochs": config.num_epochs, "num_minibatches": config.num_minibatches}
    update = jax.jit(partial(learn, agent, **passes), donate_argnums=0)
    key, updates, start, reported = jax.random.key(seed + 1), 0, time.time(), 0
    queue: list[Block] = []  # never long: an actor has at most two slices that are not learned from
    with ParallelDriver(
        partial(gym.make, env_name, num_envs=num_envs),
        lambda specs: config.agent(specs).collect_policy,
        num_actors=num_actors,
        num_rows=config.num_rows,
        max_staleness=max_staleness,
        seed=seed,
    ) as driver:
        driver.publish(0, agent.policy_params(jax.tree.map(jnp.copy, state)))
        while driver.num_steps < config.num_steps:
            queue += driver.poll(timeout=1.0)
            while len(queue) >= blocks_per_update:
                batch, queue = queue[:blocks_per_update], queue[blocks_per_update:]
                rows = jax.tree.map(
                    lambda *parts: np.concatenate(parts), *(block.segments() for block in batch)
                )
                state, _ = update(state, rows, jax.random.fold_in(key, updates))
                updates += 1
                driver.publish(updates, agent.policy_params(state))
            if driver.num_steps - reported >= config.num_steps // 10:
                reported = driver.num_steps
                print(
                    f"{time.time() - start:6.1f} s, {updates} updates, {driver.report()}",
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
    parser.add_argument("--algorithm", choices=["IMPALA", "APPO"], default="IMPALA")
    parser.add_argument("--env", default="CartPole-v1")
    parser.add_argument("--num-actors", type=int, default=2)
    parser.add_argument("--num-steps", type=int)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    main(
        given.algorithm,
        given.env,
        num_actors=given.num_actors,
        num_steps=given.num_steps,
        seed=given.seed,
    )
