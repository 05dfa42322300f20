"""A3C (Mnih et al. 2016): each actor computes the gradient of its own rows; the learner applies
them in the order they come.

python examples/a3c.py --num-actors 4
"""

import argparse
import dataclasses
import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_agents.agents import LossInfo
from jax_agents.agents.agent import apply_loss
from jax_agents.drivers import Collector, ParameterServer, RemoteParameterServer, Supervisor
from jax_agents.envs import gym
from jax_agents.evaluation import compute_avg_return
from jax_agents.experiments.configs.presets import PRESETS


class GradientWorker:
    """A collector that returns the gradient of its rows instead of them."""

    def __init__(
        self,
        actor: int,
        generation: int,
        *,
        make_env: Any,
        make_agent: Any,
        parameters: Any,
        num_rows: int,
        seed: int,
    ):
        self.agent = make_agent(make_env().specs)
        given = {
            "make_env": make_env,
            "make_policy": lambda specs: self.agent.collect_policy,
            "seed": seed,
        }
        self.collector = Collector(
            actor, generation, parameters=parameters, num_rows=num_rows, **given
        )
        self.state = self.agent.init(jax.random.key(0))
        self.gradient = jax.jit(self._gradient)

    def run(self) -> tuple[int, int, list[float], Any]:
        """The version, the steps, the returns of the episodes that ended, and the gradient."""
        block = self.collector.run()
        gradient = self.gradient(self.collector.params, block.segments())
        return (
            block.version,
            block.num_steps,
            block.returns.tolist(),
            jax.tree.map(np.array, gradient),
        )

    def _gradient(self, params: Any, rows: Any) -> Any:
        state = dataclasses.replace(self.state, params=params["params"], step=params["step"])
        state, batch = self.agent.prepare(state, rows)
        return jax.grad(lambda params: self.agent.loss(params, state, batch, state.key).loss)(
            state.params
        )


def main(
    env_name: str = "CartPole-v1",
    *,
    num_actors: int = 4,
    num_steps: int = 500_000,
    num_episodes: int = 20,
    seed: int = 0,
) -> float:
    """Trains; returns the mean return of greedy episodes."""
    preset = PRESETS["A3C"].config
    config = dataclasses.replace(preset, num_steps=num_steps)
    make_agent, make_env = (
        config.agent,
        partial(gym.make, env_name, num_envs=config.num_envs),
    )
    env = gym.make(env_name)
    agent = make_agent(env.specs)
    state = agent.init(jax.random.key(seed))

    @jax.jit
    def apply(state: Any, gradient: Any) -> Any:
        """One update whose gradient is the one given: of its inner product with the parameters."""
        product = lambda params: jax.tree.reduce(jnp.add, jax.tree.map(jnp.vdot, params, gradient))
        return apply_loss(
            state, lambda params, key: LossInfo(product(params), {}, {}), agent.optimizer
        )[0]

    parameters = RemoteParameterServer() if num_actors else ParameterServer()
    make = partial(
        GradientWorker,
        make_env=make_env,
        make_agent=make_agent,
        parameters=parameters,
        num_rows=config.num_rows,
        seed=seed,
    )
    updates, steps, start = 0, 0, time.time()
    staleness: list[int] = []
    returns: list[float] = []
    with Supervisor(make, num_actors) as workers:
        parameters.push(0, agent.policy_params(state))
        while steps < num_steps:
            for actor in workers.free():
                workers.submit(actor, "run")
            for answer in workers.collect(timeout=1.0):
                if answer.failure is not None:
                    continue
                version, made, ended, gradient = answer.value
                state = apply(state, gradient)
                staleness.append(updates - version)
                updates, steps, returns = updates + 1, steps + made, (returns + ended)[-100:]
                parameters.push(updates, agent.policy_params(state), wait=False)
                if updates % 1_000 == 0:
                    age = f"staleness {np.mean(staleness[-1_000:]):.2f}"
                    told = f"return {np.mean(returns):.1f}, {age}, {workers.num_failures}"
                    print(
                        f"{time.time() - start:6.1f} s, {updates} updates, {steps} steps, {told}",
                        flush=True,
                    )
    parameters.close()
    average = compute_avg_return(
        env, agent.policy, num_episodes, agent.policy_params(state), seed=seed
    )
    print(f"greedy return {average:.1f} after {steps} steps and {time.time() - start:.1f} s")
    return average


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--env", default="CartPole-v1")
    parser.add_argument("--num-actors", type=int, default=4)
    parser.add_argument("--num-steps", type=int, default=500_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    main(given.env, num_actors=given.num_actors, num_steps=given.num_steps, seed=given.seed)
