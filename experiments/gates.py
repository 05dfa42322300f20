"""The table of learning gates: what each agent must reach, where, in how many steps, and whose result that is.

Tests (`pytest -m learning`), tuned examples and documentation read this one table. A row's configuration is a function that
builds the whole experiment; add one in `tuned_*.py`, then a row here.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from . import tuned_continuous, tuned_offline, tuned_on_policy, tuned_value_based


@dataclasses.dataclass(frozen=True, eq=False)
class Gate:
    """One row.

    Attributes:
      name: what to call it on a command line: algorithm, environment and, where there are several, whose configuration.
      algorithm: for people.
      environment: for people, gymnasium's name.
      configuration: builds the loop to train: `learners.OnDevice`, `learners.OnPolicy`, or anything with their `agent`, `env`,
        `init(key)` and `run(state, num_iterations, num_reports)`.
      num_iterations: of the loop; a multiple of 10.
      steps: environment steps of each seed, of all its environments together, with warm-up and boundary rows; 0 for a loop that
        learns from given rows.
      gate: what the lower end of the 95 % interval of the interquartile mean over seeds must reach: mean returns of 100 greedy
        episodes for each seed.
      floor: what every seed must reach.
      source: whose configuration it is and what was published, by `docs/results.md`.
      num_seeds: how many seeds to train.
    """

    name: str
    algorithm: str
    environment: str
    configuration: Callable[[], Any]
    num_iterations: int
    steps: int
    gate: float
    source: str
    floor: float = float("-inf")
    num_seeds: int = 10


GATES: tuple[Gate, ...] = (
    Gate(
        "dqn-cartpole-cleanrl",
        "DQN",
        "CartPole-v1",
        tuned_value_based.dqn_cartpole_cleanrl,
        num_iterations=49_000,
        steps=500_000,
        gate=475.0,
        source="CleanRL dqn.py: 488.7 (dqn_jax.py: 498.4), mean of the last 100 training episodes",
    ),
    Gate(
        "c51-cartpole-cleanrl",
        "C51",
        "CartPole-v1",
        tuned_value_based.c51_cartpole_cleanrl,
        num_iterations=49_000,
        steps=500_000,
        gate=455.0,
        source="CleanRL c51.py: 481.2 (c51_jax.py: 491.1), mean of the last 100 training episodes",
        num_seeds=5,
    ),
    Gate(
        "dqn-options-cartpole",
        "DQN, double, dueling, prioritised, 3-step",
        "CartPole-v1",
        tuned_value_based.dqn_options_cartpole,
        num_iterations=49_750,
        steps=200_000,
        gate=450.0,
        source="our configuration, after RLlib's tuned example, which asks 450 in 200,000 steps",
    ),
    Gate(
        "ppo-cartpole-cleanrl",
        "PPO",
        "CartPole-v1",
        tuned_on_policy.ppo_cartpole_cleanrl,
        num_iterations=970,
        steps=500_000,
        gate=475.0,
        floor=400.0,
        source="CleanRL ppo.py: 490.0, mean of the last 100 training episodes",
    ),
    Gate(
        "ppo-cartpole-zoo",
        "PPO",
        "CartPole-v1",
        tuned_on_policy.ppo_cartpole_zoo,
        num_iterations=390,
        steps=100_000,
        gate=475.0,
        source="rl-baselines3-zoo ppo.yml: 500.0, greedy, one run",
    ),
    Gate(
        "ppo-pendulum-rejax",
        "PPO",
        "Pendulum-v1",
        tuned_on_policy.ppo_pendulum,
        num_iterations=50,
        steps=500_000,
        gate=-200.0,
        source="rejax configs/gymnax/pendulum.yaml, no figure; RLlib's tuned example asks -300 in 400,000 steps",
        num_seeds=5,
    ),
    Gate(
        "a2c-cartpole-zoo",
        "A2C",
        "CartPole-v1",
        tuned_on_policy.a2c_cartpole_zoo,
        num_iterations=12_500,
        steps=500_000,
        gate=475.0,
        source="rl-baselines3-zoo a2c.yml: 500.0, greedy, one run",
    ),
    Gate(
        "reinforce-cartpole",
        "REINFORCE",
        "CartPole-v1",
        tuned_on_policy.reinforce_cartpole,
        num_iterations=90,
        steps=370_000,
        gate=400.0,
        floor=195.0,
        source="our configuration; Tianshou's test asks 195 of its best evaluation",
    ),
    Gate(
        "impala-cartpole-rllib",
        "IMPALA",
        "CartPole-v1",
        tuned_on_policy.impala_cartpole,
        num_iterations=4_000,
        steps=2_000_000,
        gate=450.0,
        source="RLlib's tuned example asks 450 in 2,000,000 steps; here the actors' parameters are 4 updates old",
        num_seeds=5,
    ),
    Gate(
        "sac-pendulum-zoo",
        "SAC",
        "Pendulum-v1",
        tuned_continuous.sac_pendulum,
        num_iterations=19_900,
        steps=20_000,
        gate=-180.0,
        floor=-250.0,
        source="rl-baselines3-zoo sac.yml: -157.0, greedy, one run, 256 wide",
        num_seeds=5,
    ),
    Gate(
        "td3-pendulum-zoo",
        "TD3",
        "Pendulum-v1",
        tuned_continuous.td3_pendulum,
        num_iterations=10_000,
        steps=20_000,
        gate=-180.0,
        source="rl-baselines3-zoo td3.yml: -151.9, greedy, one run, 400 and 300 wide",
    ),
    Gate(
        "ddpg-pendulum-zoo",
        "DDPG",
        "Pendulum-v1",
        tuned_continuous.ddpg_pendulum,
        num_iterations=10_000,
        steps=20_000,
        gate=-180.0,
        source="rl-baselines3-zoo ddpg.yml: -152.1, greedy, one run, 400 and 300 wide",
    ),
    Gate(
        "discrete-sac-cartpole",
        "discrete SAC",
        "CartPole-v1",
        tuned_continuous.discrete_sac_cartpole,
        num_iterations=24_750,
        steps=100_000,
        gate=450.0,
        source="our configuration; Tianshou's test asks 170 of its best evaluation",
    ),
    Gate(
        "bc-cartpole",
        "BC",
        "CartPole-v1",
        tuned_offline.bc_cartpole,
        num_iterations=1_500,
        steps=0,
        gate=475.0,
        source="our configuration; the expert, a controller written by hand, scores 500",
        num_seeds=5,
    ),
    Gate(
        "bc-pendulum",
        "BC",
        "Pendulum-v1",
        tuned_offline.bc_pendulum,
        num_iterations=3_000,
        steps=0,
        gate=-196.0,
        source="our configuration; within 50 of the expert, a controller written by hand, which scores -147",
        num_seeds=5,
    ),
)


def find(name: str) -> Gate:
    """The row called `name`.

    Raises:
      ValueError: if there is none; the message lists them all.
    """
    for gate in GATES:
        if gate.name == name:
            return gate
    raise ValueError(f"no gate is called {name!r}; expected one of {', '.join(gate.name for gate in GATES)}")
