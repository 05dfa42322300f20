"""Rows of transitions and episodes from elsewhere are those that a driver makes of them."""

import gymnasium
import jax
import numpy as np
import pytest
from gymnasium import spaces

from jax_agents import envs, policies, replay
from jax_agents.agents.reductions import to_transition
from jax_agents.drivers import Driver
from jax_agents.envs.specs import trajectory_spec
from jax_agents.replay import Episode, add_rows, from_episodes, from_transitions


class Walk(gymnasium.Env):
    """Episodes of drawn lengths that end in all ways; a dict is observed."""

    observation_space = spaces.Dict(
        {"at": spaces.Box(-9, 99, (2,), np.float32), "kind": spaces.Discrete(5)}
    )
    action_space = spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = int(self.np_random.integers(1, 5))
        self.way = int(self.np_random.integers(3))
        return self.look(), {}

    def look(self):
        return {
            "at": self.np_random.uniform(0, 1, 2).astype(np.float32),
            "kind": self.np_random.integers(5),
        }

    def step(self, action):
        self.left -= 1
        over = self.left == 0
        reward = float(self.np_random.normal()) + float(action)
        return self.look(), reward, over and self.way != 1, over and self.way != 0, {}


class Flat(Walk):
    observation_space = spaces.Box(0, 1, (2,), np.float32)

    def look(self):
        return super().look()["at"]


def driven(kind, num_envs, num_rows=60):
    """The rows of a driver, `[num_rows, num_envs, ...]`, and the specs."""
    env = envs.gym.make(kind, num_envs)
    rows = []
    Driver(env, policies.RandomPolicy(env.specs.action), [rows.append], seed=3).run(
        num_rows=num_rows
    )
    return jax.tree.map(lambda *x: np.stack(x), *rows), env.specs


def stream(rows, i):
    """The rows of environment i, to the end of its last whole episode."""
    mine = jax.tree.map(lambda x: x[:, i], rows)
    end = np.flatnonzero(mine.step_type == 2)[-1] + 1
    return jax.tree.map(lambda x: x[:end], mine)


def transitions(rows):
    """The transitions of rows, as other libraries have them."""
    steps = np.flatnonzero(rows.step_type != 2)
    take = lambda tree, at: jax.tree.map(lambda x: x[at], tree)
    ended = rows.next_step_type[steps] == 2
    terminated = ended & (rows.discount[steps] == 0)
    return {
        "observation": take(rows.observation, steps),
        "action": rows.action[steps],
        "reward": rows.reward[steps],
        "next_observation": take(rows.observation, steps + 1),
        "terminated": terminated,
        "truncated": ended & ~terminated,
    }


def episodes(rows):
    starts = np.flatnonzero(rows.step_type == 0)
    ends = np.flatnonzero(rows.step_type == 2)
    for start, end in zip(starts, ends, strict=True):
        yield Episode(
            jax.tree.map(lambda x, of=slice(start, end + 1): x[of], rows.observation),
            rows.action[start:end],
            rows.reward[start:end],
            rows.discount[end - 1] == 0,
        )


def assert_same_rows(made, expected):
    """All but the actions of boundary rows, which nobody takes."""
    steps = expected.step_type != 2
    hide = lambda rows: rows._replace(action=np.where(steps, rows.action, 0))
    for one, other in zip(
        jax.tree.leaves(hide(made)), jax.tree.leaves(hide(expected)), strict=True
    ):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


@pytest.mark.parametrize("kind", [Flat, Walk], ids=["vector", "dict"])
@pytest.mark.parametrize("num_envs", [1, 3])
def test_they_are_a_drivers_rows(kind, num_envs):
    rows, specs = driven(kind, num_envs)
    kinds = set()
    for i in range(num_envs):
        mine = stream(rows, i)
        kinds |= set(mine.discount[mine.next_step_type == 2].tolist())
        assert_same_rows(from_transitions(**transitions(mine)), mine)
        assert_same_rows(from_episodes(episodes(mine)), mine)
        buffer = replay.HostReplay(trajectory_spec(specs), capacity=100)
        add_rows(buffer.writer(), from_episodes(episodes(mine)))
        assert len(buffer) == len(mine.step_type)
    assert kinds == {0.0, 1.0}  # terminations and truncations


def test_what_a_learner_sees_are_the_transitions():
    rows, _ = driven(Walk, 2)
    mine = transitions(stream(rows, 1))
    made = from_transitions(**mine)
    windows = jax.tree.map(lambda x: np.stack([x[:-1], x[1:]], 1), made)
    seen = to_transition(windows, 0.5)
    real = np.asarray(seen.mask) > 0
    assert real.sum() == len(mine["reward"])
    np.testing.assert_array_equal(seen.discount[real], np.where(mine["terminated"], 0.0, 0.5))
    for name in ("observation", "action", "reward", "next_observation"):
        jax.tree.map(
            lambda x, y: np.testing.assert_array_equal(np.asarray(x)[real], y),
            getattr(seen, name),
            mine[name],
        )


def test_transitions_in_any_order_keep_their_next_observations():
    rows, _ = driven(Walk, 1)
    mine = transitions(stream(rows, 0))
    order = np.random.default_rng(0).permutation(len(mine["reward"]))
    mine = jax.tree.map(lambda x: x[order], mine)
    made = from_transitions(**mine)
    windows = jax.tree.map(lambda x: np.stack([x[:-1], x[1:]], 1), made)
    seen = to_transition(windows, 1.0)
    real = np.asarray(seen.mask) > 0
    assert real.sum() == len(order)
    np.testing.assert_array_equal(seen.next_observation["at"][real], mine["next_observation"]["at"])
    np.testing.assert_array_equal(seen.discount[real], np.where(mine["terminated"], 0.0, 1.0))


def test_an_unfinished_episode_is_truncated_and_policy_info_comes_along():
    made = from_transitions(
        np.array([[1.0], [2.0]]), np.array([3, 4]), np.array([5, 6]), np.array([[2.0], [9.0]]),
        np.array([False, False]), np.array([False, False]), policy_info={"p": np.array([0.1, 0.2])},
    )  # fmt: skip
    np.testing.assert_array_equal(made.step_type, [0, 1, 2])
    np.testing.assert_array_equal(made.next_step_type, [1, 2, 0])
    np.testing.assert_array_equal(made.observation, [[1], [2], [9]])
    np.testing.assert_array_equal(made.reward, [5, 6, 0])
    np.testing.assert_array_equal(made.discount, [1, 1, 1])
    np.testing.assert_array_equal(made.policy_info["p"], [0.1, 0.2, 0.2])
    assert made.reward.dtype == np.float32


ONE = {
    "observation": np.zeros((2, 1)),
    "action": np.zeros(2, int),
    "reward": np.zeros(2),
    "next_observation": np.zeros((2, 1)),
    "terminated": np.zeros(2, bool),
    "truncated": np.zeros(2, bool),
}


@pytest.mark.parametrize(
    ("changes", "error", "told"),
    [
        ({"terminated": np.zeros(2)}, TypeError, "terminated: expected booleans"),
        ({"truncated": [0, 1]}, TypeError, "truncated: expected booleans"),
        ({"action": np.zeros(3)}, ValueError, "action: expected 2 entries.*got shape"),
        ({"next_observation": np.zeros((3, 1))}, ValueError, "next_observation: expected 2"),
        ({"next_observation": {"a": np.zeros((2, 1))}}, ValueError, "structure"),
        ({"reward": np.zeros(0)}, ValueError, "at least one transition"),
        ({"reward": np.zeros((2, 1))}, ValueError, "of one environment.*each environment"),
    ],
)
def test_what_does_not_fit_is_named(changes, error, told):
    with pytest.raises(error, match=told):
        from_transitions(**(ONE | changes))


def test_episodes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match="at least one, got none"):
        from_episodes([])
    with pytest.raises(TypeError, match=r"episodes\[0\]: expected a replay.Episode"):
        from_episodes([{"observation": []}])
    with pytest.raises(ValueError, match=r"episodes\[0\]: observation: expected 3 of them for 2"):
        from_episodes([Episode(np.zeros((2, 1)), np.zeros(2), np.zeros(2), True)])
