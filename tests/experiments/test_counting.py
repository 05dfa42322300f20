"""One rule of counting for every algorithm and every runner: updates and schedules follow steps.

A step is a row that is no boundary row. With episodes of one step every second row is one; with
long episodes hardly any.
"""

import dataclasses
import math
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_agents.envs.episodic import EpisodicEnvironment
from jax_agents.envs.specs import BoundedSpec, DiscreteSpec, EnvironmentSpecs
from jax_agents.experiments import PRESETS, DqnConfig, PpoConfig, SacConfig, Trainer

SMALL = {
    "hidden": (4,),
    "head_hidden": (),
    "batch_size": 4,
    "warmup_steps": 48,
    "replay_capacity": 400,
    "steps_per_report": 32,
    "num_rows": 8,
    "iterations_per_report": 1,
    "max_episode_steps": None,
    "core_size": 4,
    "num_atoms": 5,
    "sequence_length": 4,
    "burn_in": 1,
    "population_size": 4,
    "max_steps": 8,
}
SPECIAL = {
    "PG": {"num_rows": 48},  # it learns from whole episodes
    "QRDQN": {"steps_per_iteration": 16, "updates_per_iteration": 16},
    "R2D2": {"steps_per_iteration": 8, "num_envs": 4},
    "DISCRETE_SAC": {"steps_per_iteration": 8},
}
CONTINUOUS = ("SAC", "TD3", "DDPG", "APEX_DDPG")
LENGTHS = (1, 40)


@dataclasses.dataclass(frozen=True, eq=False)
class Fixed(EpisodicEnvironment):
    """Episodes of a fixed number of steps, in which actions change nothing but the reward."""

    max_episode_steps: int | None = 1
    continuous: bool = False

    @property
    def specs(self):
        action = BoundedSpec((1,), np.float32, -1.0, 1.0) if self.continuous else DiscreteSpec(4)
        return EnvironmentSpecs(BoundedSpec((2,), np.float32, -1.0, 1.0), action)

    def initial_physics(self, key):
        return jax.random.uniform(key, (2,), jnp.float32, -1.0, 1.0)

    def dynamics(self, physics, action):
        return -physics, jnp.float32(jnp.sum(action)), jnp.asarray(False)


def small(name, **changes):
    config = PRESETS[name].config
    known = {field.name for field in dataclasses.fields(config)}
    values = {key: value for key, value in SMALL.items() if key in known}
    if getattr(config, "lstm_size", None):
        values["lstm_size"] = 4
    if getattr(config, "num_minibatches", 1) > 1:
        values["num_minibatches"] = 2
    values |= SPECIAL.get(name, {})
    return dataclasses.replace(config, **values | changes)


def make(config, length, runner):
    if runner == "vector" and config.num_envs == 1:
        config = config.vectorized(3)
    env = Fixed(length, config.algorithm in CONTINUOUS)
    workers = {"num_workers": 0} if runner == "ray" else {}
    return Trainer(config, env, runner=runner, replay="host", seed=1, **workers)


def promised(config, num_steps, length):
    """The number of updates in so many steps, and the number that one iteration makes."""
    if not hasattr(config, "warmup_steps"):
        rows = num_steps * (length + 1) / length
        per_iteration = config.updates_per_iteration
        return rows / config.steps_per_iteration * per_iteration, per_iteration
    ratio = config.updates_per_iteration / config.steps_per_iteration
    most = max(config.steps_per_iteration, config.num_envs)
    return max(0, num_steps - config.warmup_steps) * ratio, math.ceil(most * ratio)


# Each kind of loop, with one and with several environments; the other algorithms run the same code.
DAILY = {
    ("DQN", "loop"),
    ("SAC", "vector"),
    ("DISCRETE_SAC", "device"),
    ("APEX", "ray"),
    ("PPO", "loop"),
    ("A2C", "device"),
    ("PG", "vector"),
    ("IMPALA", "ray"),
}
CASES = [
    pytest.param(name, runner, marks=() if (name, runner) in DAILY else pytest.mark.nightly)
    for name, preset in PRESETS.items()
    if name not in ("BC", "ES")  # rows of a data set; generations, which end with their episodes
    for runner in preset.config.runners
]


# Every second row of episodes of one step is a boundary row: what is wrong anywhere is wrong there.
LENGTHS_DAILY = pytest.mark.parametrize(
    "length", [LENGTHS[0], *(pytest.param(n, marks=pytest.mark.nightly) for n in LENGTHS[1:])]
)


@LENGTHS_DAILY
@pytest.mark.parametrize("name, runner", CASES)
def test_updates_follow_steps(name, runner, length):
    trainer = make(small(name), length, runner)
    result = trainer.train()
    for _ in range(7):
        result = trainer.train()
        steps, updates = (
            result["num_env_steps_sampled_lifetime"],
            result["num_updates_lifetime"],
        )
        expected, tolerance = promised(trainer.config, steps, length)
        if trainer.config.learns_from is not None:  # the rows of an iteration end within an episode
            tolerance *= 2
        assert abs(updates - expected) <= tolerance, (steps, updates, expected)
        assert updates == int(trainer.train_state.step)
    assert updates > 0
    trainer.close()


@LENGTHS_DAILY
@pytest.mark.parametrize("name, runner", CASES)
def test_rates_end_with_the_run_and_not_before(name, runner, length):
    """A rate that falls to 0: parameters move up to the last iteration, and then never again."""
    config = small(name, learning_rate_end=0.0)
    first = make(dataclasses.replace(config, num_steps=10), length, runner).config
    report = first.steps_per_report
    num_steps = 4 * report if hasattr(config, "num_rows") else 48 + 4 * report
    trainer = make(dataclasses.replace(config, num_steps=num_steps), length, runner)
    moved_at, steps = 0, 0

    def parameters():
        return [np.asarray(x) for x in jax.tree.leaves(trainer.train_state.params)]

    before = parameters()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it is trained for longer, on purpose
        while steps < num_steps + 2 * report:
            begin = steps
            steps = trainer.train()["num_env_steps_sampled_lifetime"]
            after = parameters()
            # A schedule's end is 0 up to rounding.
            if any(np.abs(a - b).max() > 1e-8 for a, b in zip(before, after, strict=True)):
                moved_at = begin
            before = after
    most = max(trainer.config.steps_per_iteration, trainer.config.num_envs)
    assert num_steps - report - 2 * most <= moved_at < num_steps + most
    trainer.close()


def test_the_device_and_the_vector_runner_keep_one_promise():
    """An iteration of one step in eight environments: one row brings eight updates."""
    config = SacConfig(num_envs=8, hidden=(4,), batch_size=4, warmup_steps=100, replay_capacity=900)
    for runner in ("vector", "device"):
        trainer = Trainer(config, "Pendulum-v1", runner=runner, replay="host")
        for _ in range(3):
            result = trainer.train()
        steps = result["num_env_steps_sampled_lifetime"]
        assert abs(result["num_updates_lifetime"] - (steps - 100)) <= 8, runner
        trainer.close()


def test_what_an_iteration_makes_too_much_counts_for_the_next():
    config = DqnConfig(
        num_envs=8,
        steps_per_iteration=8,
        updates_per_iteration=2,
        num_steps=1_200,
        warmup_steps=200,
        hidden=(4,),
        batch_size=4,
    )
    for runner in ("vector", "device"):
        trainer = Trainer(config, "CartPole-v1", runner=runner, replay="host")
        result = trainer.run()
        due = (result["num_env_steps_sampled_lifetime"] - 200) / 4
        assert abs(result["num_updates_lifetime"] - due) <= 2, runner
        trainer.close()


def test_schedules_of_rows_and_steps_end_together():
    """The issue's case: with episodes of one step the rate was 0 from half of the run on."""
    config = PpoConfig(num_steps=1_024, num_rows=64, iterations_per_report=1, hidden=(4,))
    trainer = Trainer(config, Fixed(1), runner="device")
    result = trainer.train()
    while result["num_env_steps_sampled_lifetime"] < 1_024:
        before = jax.tree.leaves(trainer.train_state.params)
        result = trainer.train()
        after = jax.tree.leaves(trainer.train_state.params)
        assert any((a != b).any() for a, b in zip(before, after, strict=True))
    trainer.close()


METRICS = [
    pytest.param(
        name, runner, marks=() if (name, runner) == ("PPO", "loop") else pytest.mark.nightly
    )
    for name in ("PPO", "RECURRENT_PPO", "A2C", "PG", "IMPALA", "APPO", "DISCRETE_SAC")
    for runner in PRESETS[name].config.runners
]


@pytest.mark.parametrize("name, runner", METRICS)
def test_metrics_are_means_over_steps(name, runner):
    """The entropy of four actions is at most ln 4, and near it at first, whatever the episodes."""
    # A batch of boundary rows alone has no mean.
    batch = {"batch_size": 32} if name == "DISCRETE_SAC" else {}
    for length in LENGTHS:
        trainer = make(small(name, learning_rate=1e-9, **batch), length, runner)
        results = [trainer.train() for _ in range(4)]
        entropies = [r["entropy"] for r in results if r.get("entropy")]  # 0: nothing to learn from
        assert entropies
        np.testing.assert_allclose(entropies, math.log(4), rtol=0.2)
        trainer.close()
