"""SAC in five parts: rollout workers, a test worker, a parameter server, replay, and the learner.

    python examples/sac.py --num-actors 2
    python examples/sac.py --env Pendulum-v1 --num-steps 20000 --folder /tmp/run

The second, given again, goes on where it was.

Rollout workers and the learner are held to one ratio of steps to updates. The learner's state and
the replay buffer are saved in `folder`, together, every `save_seconds`, and a run that finds them
there goes on with them: no row that came before is lost, and none comes twice.
"""

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import jax

from jax_agents.drivers import (
    Balance,
    BlockWriter,
    ParallelDriver,
    ParameterServer,
    RemoteParameterServer,
    Supervision,
    Supervisor,
)
from jax_agents.envs import gym
from jax_agents.evaluation import compute_avg_return
from jax_agents.experiments.configs.continuous import SacConfig
from jax_agents.learners import Learner
from jax_agents.learners.checkpoints import Checkpointer
from jax_agents.replay import HostReplay

CONFIG = SacConfig(hidden=(256, 256), learning_rate=1e-3, tau=0.01, batch_size=128)


class TestWorker:
    """Plays deterministic episodes side by side, with the newest parameters, in its own actor."""

    def __init__(
        self,
        actor: int,
        generation: int,
        *,
        make_env: Any,
        make_agent: Any,
        parameters: Any,
        num_episodes: int,
    ):
        self.env = make_env(num_envs=num_episodes)
        self.policy, self.parameters, self.num_episodes = (
            make_agent(self.env.specs).policy,
            parameters,
            num_episodes,
        )

    def run(self) -> tuple[int, float]:
        """The version, and the mean return of its episodes."""
        version, params = self.parameters.pull_if_newer(-1)
        return version, compute_avg_return(self.env, self.policy, self.num_episodes, params)


def main(
    env_name: str = "LunarLanderContinuous-v3",
    *,
    num_actors: int = 2,
    num_envs: int = 4,
    num_rows: int = 16,
    num_steps: int = 200_000,
    updates_per_step: float = 0.5,
    warmup_steps: int = 5_000,
    stop_return: float = 200.0,
    num_episodes: int = 10,
    updates_per_test: int = 2_000,
    folder: Path | None = None,
    save_seconds: float = 30.0,
    config: SacConfig = CONFIG,
    seed: int = 0,
) -> tuple[float, int]:
    """Trains until the test worker finds `stop_return`; the last mean return found, and steps."""
    make_agent, make_env = config.agent, partial(gym.make, env_name)
    agent = make_agent(make_env().specs)
    learner = Learner(agent)
    state, steps_before = learner.init(jax.random.key(seed)), 0
    checkpoints = Checkpointer(
        tempfile.mkdtemp() if folder is None else folder / "checkpoints", keep=2
    )
    buffer = HostReplay(
        agent.collect_data_spec,
        capacity=200_000,
        sequence_length=agent.train_sequence_length,
        seed=seed,
    )
    if checkpoints.latest() is not None:
        state, metadata = checkpoints.restore(state, buffer)
        state, steps_before = learner.place(state), metadata["steps"]
    path = None if folder is None else folder / "parameters"
    parameters = RemoteParameterServer(path) if num_actors else ParameterServer(path)
    write, dataset = (
        BlockWriter(partial(buffer.writer, num_envs)),
        buffer.as_dataset(config.batch_size),
    )
    balance = Balance(
        updates_per_step,
        warmup_steps,
        slack=int(2 * max(1, num_actors) * num_envs * num_rows * updates_per_step) + 1,
    )
    tests = partial(
        TestWorker,
        make_env=make_env,
        make_agent=make_agent,
        parameters=parameters,
        num_episodes=num_episodes,
    )
    updates, start, saved, found = int(state.step), time.time(), time.time(), (0, float("-inf"))
    with (
        ParallelDriver(
            partial(gym.make, env_name, num_envs=num_envs),
            lambda specs: config.agent(specs).collect_policy,
            num_actors=num_actors,
            num_rows=num_rows,
            warmup_steps=max(0, warmup_steps - steps_before) // max(1, num_actors),
            parameters=parameters,
            seed=seed + steps_before,
        ) as driver,
        Supervisor(
            tests, min(1, num_actors), max_in_flight=1, supervision=Supervision(timeout=300.0)
        ) as testers,
    ):
        driver.publish(updates, agent.policy_params(state))
        tested = updates
        while (steps := steps_before + driver.num_steps) < num_steps and found[1] < stop_return:
            owed = balance.owed(steps, updates)
            for block in driver.poll(0.0 if owed else 0.1, start=balance.may_act(steps, updates)):
                write(block)
            for _ in range(min(owed, 32)):
                state, _ = learner.train(state, next(dataset).experience)
                updates += 1
            driver.publish(updates, agent.policy_params(state))
            for answer in testers.collect(timeout=0.0):
                found = answer.value or found
                print(
                    f"{time.time() - start:6.1f} s, test return {found[1]:.1f} of version "
                    f"{found[0]}; {driver.report()}"
                )
            if testers.free() and updates - tested >= updates_per_test:
                testers.submit(0, "run")
                tested = updates
            if folder is not None and time.time() - saved >= save_seconds:
                checkpoints.save(updates, state, buffer, {"steps": steps_before + driver.num_steps})
                saved = time.time()
        steps = steps_before + driver.num_steps
        if folder is not None:
            checkpoints.save(updates, state, buffer, {"steps": steps})
        if found[0] != updates and found[1] < stop_return:  # the last parameters too
            parameters.push(updates, agent.policy_params(state))
            while not testers.free():
                testers.collect(timeout=1.0)
            testers.submit(0, "run")
            found = next((answer.value for answer in testers.collect() if answer.value), found)
    parameters.close()
    print(
        f"test return {found[1]:.1f}, {steps} steps, {updates} updates, "
        f"{time.time() - start:.1f} s",
        flush=True,
    )
    return found[1], steps


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--env", default="LunarLanderContinuous-v3")
    parser.add_argument("--num-actors", type=int, default=2)
    parser.add_argument("--num-steps", type=int, default=200_000)
    parser.add_argument("--updates-per-step", type=float, default=0.5)
    parser.add_argument("--warmup-steps", type=int, default=5_000)
    parser.add_argument("--stop-return", type=float, default=200.0)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--save-seconds", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    main(
        given.env,
        num_actors=given.num_actors,
        num_steps=given.num_steps,
        updates_per_step=given.updates_per_step,
        warmup_steps=given.warmup_steps,
        stop_return=given.stop_return,
        folder=given.folder,
        save_seconds=given.save_seconds,
        seed=given.seed,
    )
