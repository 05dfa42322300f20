"""Ape-X (Horgan et al. 2018) with DQN or DDPG: many actors, prioritised replay, one learner.

    python examples/apex.py --num-actors 4
    python examples/apex.py --algorithm APEX_DDPG --env Pendulum-v1
    python examples/apex.py --address localhost:5000 --address localhost:5001

With addresses of servers (`jax-agents replay-server --sampler prioritized --sequence-length 4`),
actors write there themselves, and all servers are sampled as one table. Without, rows come back and
lie in this process.
"""

import argparse
import dataclasses
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from jax_agents.drivers import Balance, BlockWriter, ParallelDriver
from jax_agents.envs import gym
from jax_agents.evaluation import compute_avg_return
from jax_agents.experiments.configs.presets import PRESETS
from jax_agents.learners import Learner, replay_update
from jax_agents.policies import with_version
from jax_agents.replay import HostReplay, RemoteReplay


def exploration(
    algorithm: str, num_actors: int, epsilon: float, alpha: float
) -> list[dict[str, Any]]:
    """Returns parameters for each actor: the paper's epsilons, or a ladder of scales of noise."""
    rungs = np.arange(num_actors) / max(1, num_actors - 1)
    if algorithm == "APEX":
        return [{"epsilon": np.float32(epsilon ** (1 + alpha * rung))} for rung in rungs]
    return [{"noise_scale": np.float32(0.4 * 0.1**rung)} for rung in rungs]


def main(
    algorithm: str = "APEX",
    env_name: str = "CartPole-v1",
    *,
    num_actors: int = 2,
    num_envs: int = 2,
    num_rows: int = 32,
    num_steps: int = 200_000,
    epsilon: float = 0.1,
    alpha: float = 1.0,
    addresses: Sequence[str] = (),
    num_episodes: int = 20,
    seed: int = 0,
) -> float:
    """Trains, and returns the mean return of greedy episodes.

    The paper's 360 actors have epsilon 0.4 and alpha 7.
    """
    preset = PRESETS[algorithm].config
    config = dataclasses.replace(
        preset, num_steps=num_steps, warmup_steps=min(1_000, num_steps // 4)
    )
    make_agent = config.agent
    env = gym.make(env_name)
    agent = make_agent(env.specs)
    spec = with_version(agent.collect_data_spec)
    table = {
        "sequence_length": agent.train_sequence_length,
        "priority_exponent": config.priority_exponent,
    }
    make_replay = partial(RemoteReplay, spec, tuple(addresses), **table) if addresses else None
    buffer = make_replay() if make_replay else HostReplay(spec, capacity=50_000, seed=seed, **table)
    write: Any = lambda block: None
    if isinstance(buffer, HostReplay):
        write = BlockWriter(partial(buffer.writer, num_envs))
    dataset = buffer.as_dataset(config.batch_size)

    learner = Learner(agent)
    state = learner.init(jax.random.key(seed))
    balance = Balance(
        config.updates(1_000) / 1_000,
        config.warmup_steps,
        slack=max(1, num_actors) * num_envs * num_rows,
    )
    updates = reported = 0
    age = 0.0
    start = time.time()
    with ParallelDriver(
        partial(gym.make, env_name, num_envs=num_envs),
        lambda specs: config.agent(specs).collect_policy,
        num_actors=num_actors,
        num_rows=num_rows,
        make_replay=make_replay,
        actor_params=exploration(algorithm, max(1, num_actors), epsilon, alpha),
        warmup_steps=config.warmup_steps // max(1, num_actors),
        row_versions=True,
        seed=seed,
    ) as driver:
        driver.publish(0, agent.policy_params(state))
        while driver.num_steps < num_steps or balance.owed(driver.num_steps, updates):
            owed = balance.owed(driver.num_steps, updates)
            acting = driver.num_steps < num_steps and balance.may_act(driver.num_steps, updates)
            for block in driver.poll(0.0 if owed else 0.1, start=acting):
                write(block)
            for _ in range(min(owed, 32)):
                experience, info = next(dataset)
                draws = (info.probability, info.table_size)
                state, _, priorities = replay_update(
                    learner.train, state, experience, draws, config.importance_exponent
                )
                buffer.update_priorities(info.key, np.asarray(priorities))
                age = updates - float(np.mean(experience.policy_info["version"][:, 0]))
                updates += 1
            driver.publish(updates, agent.policy_params(state))
            if driver.num_steps - reported >= num_steps // 10:
                reported = driver.num_steps
                report = driver.report() | {"sampled_age": age}
                print(f"{time.time() - start:6.1f} s, {updates} updates, {report}", flush=True)
    buffer.close()
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
    parser.add_argument("--algorithm", choices=["APEX", "APEX_DDPG"], default="APEX")
    parser.add_argument("--env", default="CartPole-v1")
    parser.add_argument("--num-actors", type=int, default=2)
    parser.add_argument("--num-steps", type=int, default=200_000)
    parser.add_argument("--address", action="append", default=[])
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    main(
        given.algorithm,
        given.env,
        num_actors=given.num_actors,
        num_steps=given.num_steps,
        addresses=given.address,
        seed=given.seed,
    )
