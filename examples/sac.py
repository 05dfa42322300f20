"""SAC in five parts: rollout workers, a test worker, a parameter server, replay, and the learner.

    python examples/sac.py --num-actors 2
    python examples/sac.py --env Pendulum-v1 --num-steps 20000 --folder /tmp/run

Rollout workers and the learner, which is in this process, are held to one ratio of steps to
updates. The learner's state and the replay buffer are saved in `folder`, together, every
`save_seconds`. The second command, given again, goes on from there: no row that came before is
lost, and none comes twice.
"""

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import jax

from jax_agents import drivers
from jax_agents.envs import gym
from jax_agents.evaluation import compute_avg_return
from jax_agents.experiments.configs.continuous import SacConfig
from jax_agents.learners import Checkpointer, Learner
from jax_agents.replay import HostReplay

CONFIG = SacConfig(hidden=(256, 256), learning_rate=1e-3, tau=0.01, batch_size=128)


class TestWorker:
    """Plays deterministic episodes with the newest parameters, in an actor of its own."""

    def __init__(self, _actor: int, _generation: int, *, env: Any, agent: Any, parameters: Any):
        self.env = env()
        self.policy = agent(self.env.specs).policy
        self.parameters = parameters

    def run(self) -> tuple[int, float]:
        """Returns the version, and the mean return of an episode in each environment."""
        version, params = self.parameters.pull_if_newer(-1)
        return version, compute_avg_return(self.env, self.policy, self.env.num_envs, params)


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
    """Trains until the test worker finds `stop_return`.

    Returns:
      The last mean return that it found, and the number of steps taken.
    """
    make_env = partial(gym.make, env_name)
    agent = config.agent(make_env().specs)
    learner = Learner(agent)
    state = learner.init(jax.random.key(seed))
    steps_before = 0
    path = Path(tempfile.mkdtemp()) if folder is None else folder
    checkpoints = Checkpointer(path / "checkpoints", keep=2)
    spec = agent.collect_data_spec
    length = agent.train_sequence_length or 2
    buffer = HostReplay(spec, capacity=200_000, sequence_length=length, seed=seed)
    if checkpoints.latest() is not None:
        saved_state, metadata = checkpoints.restore(state, buffer)
        state = learner.place(saved_state)
        steps_before = metadata["steps"]
    server = drivers.RemoteParameterServer if num_actors else drivers.ParameterServer
    parameters = server(None if folder is None else folder / "parameters")
    write = drivers.BlockWriter(partial(buffer.writer, num_envs))
    dataset = buffer.as_dataset(config.batch_size)
    slack = int(2 * max(1, num_actors) * num_envs * num_rows * updates_per_step) + 1
    balance = drivers.Balance(updates_per_step, warmup_steps, slack)
    test_env = partial(make_env, num_envs=num_episodes)
    tests = partial(TestWorker, env=test_env, agent=config.agent, parameters=parameters)
    patient = drivers.Supervision(timeout=300.0)
    updates = tested = int(state.step)
    start = saved = time.time()
    found = (0, float("-inf"))
    with (
        drivers.ParallelDriver(
            partial(make_env, num_envs=num_envs),
            lambda specs: config.agent(specs).collect_policy,
            num_actors=num_actors,
            num_rows=num_rows,
            warmup_steps=max(0, warmup_steps - steps_before) // max(1, num_actors),
            parameters=parameters,
            seed=seed + steps_before,
        ) as driver,
        drivers.Supervisor(
            tests, min(1, num_actors), max_in_flight=1, supervision=patient
        ) as testers,
    ):
        driver.publish(updates, agent.policy_params(state))
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
                seconds = time.time() - start
                print(f"{seconds:6.1f} s, version and return {found}; {driver.report()}")
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
    seconds = time.time() - start
    print(f"return {found[1]:.1f}, {steps} steps, {updates} updates, {seconds:.1f} s", flush=True)
    return found[1], steps


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env", dest="env_name", default="LunarLanderContinuous-v3")
    numbers: dict[str, Any] = {"num-actors": 2, "num-steps": 200_000, "warmup-steps": 5_000}
    numbers |= {"updates-per-step": 0.5, "stop-return": 200.0, "save-seconds": 30.0, "seed": 0}
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    parser.add_argument("--folder", type=Path)
    main(**vars(parser.parse_args()))
