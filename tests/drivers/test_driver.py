"""The Python loop: TF-Agents' driver cases (facts 12), what observers see, and keys."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_agents import agents, envs, networks
from jax_agents.drivers import Driver
from jax_agents.envs.specs import ArraySpec, DiscreteSpec, EnvironmentSpecs
from jax_agents.envs.types import PolicyStep, StepType, TimeStep
from jax_agents.policies import RandomPolicy

FIRST = StepType.FIRST
MID = StepType.MID
LAST = StepType.LAST


class Adder:
    """The state grows by the action, and terminates once it reaches `final`; a step earns 1."""

    specs = EnvironmentSpecs(ArraySpec((), np.int32), DiscreteSpec(3))

    def __init__(self, *finals):
        self.num_envs = None if len(finals) == 1 else len(finals)
        self.finals = np.array(finals)
        self.seeds = []

    def reset(self, seed=None):
        self.seeds.append(seed)
        self.state = np.zeros(len(self.finals), np.int32)
        self.ended = np.zeros(len(self.finals), bool)
        return self._time_step(np.full(len(self.finals), FIRST), np.zeros(len(self.finals)))

    def step(self, action):
        fresh = self.ended
        self.state = np.where(fresh, 0, self.state + action).astype(np.int32)
        self.ended = ~fresh & (self.state >= self.finals)
        step_type = np.where(fresh, FIRST, np.where(self.ended, LAST, MID))
        return self._time_step(step_type, np.where(fresh, 0.0, 1.0))

    def _time_step(self, step_type, reward):
        discount = np.where(step_type == LAST, 0.0, 1.0)
        leaves = (
            step_type.astype(np.int32),
            reward.astype(np.float32),
            discount.astype(np.float32),
            self.state,
        )
        return TimeStep(*(leaf[0] if self.num_envs is None else leaf.copy() for leaf in leaves))


@dataclasses.dataclass(frozen=True, eq=False)
class Alternate:
    """Plays 1 and 2 in turn, from `first` in each episode; its info is twice the action."""

    first: tuple | int = 1

    def initial_state(self, batch_shape=()):
        return jnp.broadcast_to(jnp.asarray(self.first, jnp.int32), batch_shape)

    def action(self, params, time_step, state=(), key=None):
        if self.first == 1:  # the batched case of TF-Agents goes on over episodes
            state = jnp.where(time_step.step_type == FIRST, 1, state)
        return PolicyStep(state, 3 - state, {"double": 2 * state})


ALTERNATE = Alternate()
FRAMES = [  # step type, observation, action, info, next step type, reward, discount
    (0, 0, 1, 2, 1, 1, 1),
    (1, 1, 2, 4, 2, 1, 0),
    (2, 3, 1, 2, 0, 0, 1),
]


def record(env=None, policy=ALTERNATE, **options):
    rows = []
    return Driver(env or Adder(3), policy, [rows.append], **options), rows


def flat(row):
    leaves = (*row[:3], row.policy_info["double"], *row[4:])
    return tuple(np.asarray(leaf).tolist() for leaf in leaves)


def test_the_rows_are_those_of_tf_agents():
    driver, rows = record()
    driver.run(num_rows=7)
    expected = FRAMES + FRAMES + FRAMES[:1]
    assert [flat(row) for row in rows[:2]] == expected[:2]
    # The policy is asked for an action on the final observation too, where it goes on in turn.
    assert [flat(row)[:2] + flat(row)[4:] for row in rows] == [
        frame[:2] + frame[4:] for frame in expected
    ]
    assert [flat(row)[2:4] for row in rows] == [
        (1, 2),
        (2, 4),
        (1, 2),
        (1, 2),
        (2, 4),
        (1, 2),
        (1, 2),
    ]


@pytest.mark.parametrize(
    ("num_steps", "num_episodes", "rows_seen"),
    [(None, 1, 3), (None, 2, 6), (2, 2, 2), (4, 2, 5), (4, 1, 3), (4, None, 5)],
)
def test_limits_of_one_run(num_steps, num_episodes, rows_seen):
    driver, rows = record()
    last = driver.run(num_steps=num_steps, num_episodes=num_episodes)
    assert len(rows) == rows_seen == driver.num_rows
    assert driver.num_episodes == sum(row.is_last() for row in rows)
    assert driver.num_steps == rows_seen - driver.num_episodes
    assert last is driver.time_step


@pytest.mark.parametrize(
    ("limits", "runs", "rows_seen"), [({"num_steps": 1}, 3, 4), ({"num_episodes": 1}, 2, 6)]
)
def test_a_run_continues_where_the_last_one_stopped(limits, runs, rows_seen):
    driver, rows = record()
    for _ in range(runs):
        driver.run(**limits)
    assert len(rows) == rows_seen
    for row, next_row in itertools.pairwise(rows):
        assert row.next_step_type == next_row.step_type
    whole, expected = record()
    whole.run(num_rows=rows_seen)
    assert list(map(flat, rows)) == list(map(flat, expected))
    assert driver.env.seeds == [None]


@pytest.mark.parametrize(
    ("num_steps", "num_episodes", "rows_seen"),
    [(4, None, 2), (5, None, 3), (None, 2, 4), (2, 2, 1), (4, 2, 2)],
)
def test_limits_are_summed_over_environments(num_steps, num_episodes, rows_seen):
    driver, rows = record(Adder(3, 4), Alternate((1, 2)))
    driver.run(num_steps=num_steps, num_episodes=num_episodes)
    assert len(rows) == rows_seen
    assert all(leaf.shape == (2,) for row in rows for leaf in jax.tree.leaves(row))


@pytest.mark.parametrize(
    "limits",
    [
        {},
        {"num_steps": 0},
        {"num_episodes": 0},
        {"num_steps": 0, "num_episodes": 0},
        {"num_rows": -1},
    ],
)
def test_invalid_limits(limits):
    driver, rows = record()
    with pytest.raises(ValueError, match="at least one limit of at least 1"):
        driver.run(**limits)
    assert rows == [] and driver.env.seeds == []  # nothing happened


def test_observers_get_every_row_in_order_as_numpy():
    first = []
    second = []
    driver = Driver(Adder(3, 4), Alternate((1, 2)), [first.append, second.append])
    driver.run(num_rows=4)
    assert len(first) == 4 and all(a is b for a, b in zip(first, second, strict=True))
    assert all(isinstance(leaf, np.ndarray) for row in first for leaf in jax.tree.leaves(row))
    np.testing.assert_array_equal(
        np.stack([row.observation for row in first]), [[0, 0], [1, 2], [3, 3], [0, 5]]
    )
    np.testing.assert_array_equal(
        np.stack([row.action for row in first]), [[1, 2], [2, 1], [1, 2], [2, 1]]
    )


def test_the_seed_of_the_first_reset():
    driver, _ = record(seed=7)
    driver.run(num_rows=1)
    driver.run(num_rows=5)
    assert driver.env.seeds == [7]


@functools.cache
def random_policy():
    return RandomPolicy(DiscreteSpec(2))


@functools.cache
def cartpole():
    return envs.classic.CartPole()


def actions_of(key, splits, num_envs=3):
    rows = []
    driver = Driver(
        envs.HostEnvironment(cartpole(), num_envs),
        random_policy(),
        [rows.append],
        key=jax.random.key(key),
    )
    for num_rows in splits:
        driver.run(num_rows=num_rows)
    return np.stack([row.action for row in rows]), np.stack([row.observation for row in rows])


def test_a_drive_is_a_function_of_its_key_however_it_is_divided_into_runs():
    actions, observations = actions_of(0, [40])
    again, same_observations = actions_of(0, [3, 36, 1])
    np.testing.assert_array_equal(actions, again)
    np.testing.assert_array_equal(observations, same_observations)
    assert (actions != actions_of(1, [40])[0]).any()
    assert 0.3 < actions.mean() < 0.7
    # the environments of a batch draw on their own
    assert len(set(map(tuple, actions.tolist()))) > 4


def test_another_policy_takes_over():
    driver, rows = record(Adder(100))
    driver.run(num_rows=3)
    driver.set_policy(Alternate(2), jax.random.key(5))
    driver.run(num_rows=2)
    assert [int(row.action) for row in rows] == [1, 2, 1, 2, 1]
    assert driver.env.seeds == [None]  # the episode goes on


class Masked(Adder):
    """`Adder` whose mask forbids everything on LAST rows, and in environment `stuck`."""

    specs = EnvironmentSpecs(
        {"observation": ArraySpec((), np.int32), "action_mask": ArraySpec((3,), np.bool_)},
        DiscreteSpec(3),
    )
    stuck = None

    def _time_step(self, step_type, reward):
        time_step = super()._time_step(step_type, reward)
        mask = (
            np.tile((step_type != LAST)[:, None], (1, 3))
            & (np.arange(len(step_type)) != self.stuck)[:, None]
        )
        return time_step._replace(
            observation={"observation": time_step.observation, "action_mask": mask}
        )


def test_parameters_that_do_not_fit_are_explained():
    env = envs.probes.OneState()
    agent = agents.DqnAgent(
        env.specs, networks.QNetwork(env.specs.action.num_values, (4,)), optax.sgd(0.1)
    )
    driver = Driver(envs.HostEnvironment(env), agent.collect_policy)
    with pytest.raises(
        ValueError, match=r"with no params; pass params=agent.policy_params\(state\)"
    ):
        driver.run(num_steps=1)
    with pytest.raises(
        ValueError, match=r"a whole TrainState for params; pass params=agent.policy_params\(state\)"
    ):
        driver.run(num_steps=1, params=agent.init(jax.random.key(0)))


def test_a_mask_that_forbids_everything_is_refused_but_on_last_rows():
    env = Masked(1, 9)
    driver, rows = record(env, RandomPolicy(env.specs.action))
    driver.run(num_rows=8)
    assert any(row.step_type[0] == LAST for row in rows)
    env.stuck = 1
    with pytest.raises(
        envs.SpecError,
        match=r"row \d+: action_mask forbids every action \(factor 0\) in environments \[1\]",
    ):
        driver.run(num_rows=3)


def test_what_a_driver_cannot_be_made_of():
    with pytest.raises(
        TypeError, match=r"observers: expected a list .*\[buffer.add\], got a single one"
    ):
        Driver(Adder(3), RandomPolicy(DiscreteSpec(3)), print)
    with pytest.raises(TypeError, match="got type"):
        Driver(Adder(3), type)
    with pytest.raises(TypeError, match="got str"):
        Driver("CartPole-v1", RandomPolicy(DiscreteSpec(3)))
