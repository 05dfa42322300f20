"""Evolution strategies (Salimans et al. 2017): actors play members of the population; only seeds
and returns travel.

python examples/es.py --num-actors 4
"""

import argparse
import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_agents.drivers import Supervisor, play_episodes
from jax_agents.evaluation import evaluate_on_device
from jax_agents.experiments.configs.presets import PRESETS
from jax_agents.experiments.trained.environments import jax_environment


class Player:
    """Plays the episodes of some members."""

    def __init__(
        self, actor: int, generation: int, *, env_name: str, make_agent: Any, max_steps: int
    ):
        env = jax_environment(env_name)
        agent = make_agent(env.specs)

        def fitness(params: Any, noise: Any, member: Any, seed: Any) -> Any:
            params = agent.member(params | {"noise_key": jax.random.wrap_key_data(noise)}, member)
            played = play_episodes(
                env, agent.collect_policy, params, jax.random.key(seed), 1, max_steps
            )
            return played.returns.mean(), played.lengths.sum()

        self.fitness = jax.jit(jax.vmap(fitness, in_axes=(None, None, 0, None)))

    def run(
        self, params: Any, noise: np.ndarray, members: np.ndarray, seed: int
    ) -> tuple[np.ndarray, np.ndarray, int]:
        """The members, what each earned, and the steps of all."""
        returns, lengths = self.fitness(params, noise, members, seed)
        return members, np.array(returns), int(lengths.sum())


def main(
    env_name: str = "CartPole-v1",
    *,
    num_actors: int = 2,
    num_steps: int = 1_000_000,
    num_episodes: int = 20,
    seed: int = 0,
) -> float:
    """Trains; returns the mean return of greedy episodes."""
    preset = PRESETS["ES"].config
    config, env = preset, jax_environment(env_name)
    make_agent = config.agent
    agent = make_agent(env.specs)
    state, tell = agent.init(jax.random.key(seed)), jax.jit(agent.tell)
    members = np.arange(config.population_size, dtype=np.int32)
    # of one size: one compilation
    parts = np.split(members, 5 if config.population_size % 5 == 0 else 2)
    generation, steps, start = 0, 0, time.time()
    make = partial(Player, env_name=env_name, make_agent=make_agent, max_steps=config.max_steps)
    with Supervisor(make, num_actors, max_in_flight=2) as players:
        while steps < num_steps:
            params = agent.policy_params(state)
            noise = np.array(jax.random.key_data(params.pop("noise_key")))
            params = jax.tree.map(np.array, params)
            fitness, waiting = np.full(len(members), np.nan, np.float32), list(parts)
            asked: dict[int, np.ndarray] = {}
            while waiting or asked:
                while waiting and (free := players.free()):
                    part = waiting.pop()
                    asked[
                        players.submit(free[0], "run", params, noise, part, seed + generation)
                    ] = part
                for answer in players.collect(timeout=1.0):
                    part = asked.pop(answer.call)
                    if answer.failure is not None:
                        # its members are played once more, with the same seeds
                        waiting.append(part)
                        continue
                    played, returns, made = answer.value
                    fitness[played], steps = returns, steps + made
            state, _ = tell(state, jnp.asarray(fitness))
            generation += 1
            if generation % 10 == 0:
                print(
                    f"{time.time() - start:6.1f} s, generation {generation}, {steps} steps, "
                    f"return {fitness.mean():.1f}"
                )
    returns = evaluate_on_device(
        env, agent.policy, agent.policy_params(state), jax.random.key(seed), num_episodes, 1_000
    )
    print(
        f"greedy return {float(returns.mean()):.1f} after {steps} steps and "
        f"{time.time() - start:.1f} s",
        flush=True,
    )
    return float(returns.mean())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--env", default="CartPole-v1")
    parser.add_argument("--num-actors", type=int, default=2)
    parser.add_argument("--num-steps", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    main(given.env, num_actors=given.num_actors, num_steps=given.num_steps, seed=given.seed)
