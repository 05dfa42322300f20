"""Rows from what clients say, worked by hand, and against the driver's."""

import jax
import numpy as np
import pytest

from jax_agents import drivers, envs, policies
from jax_agents.envs.types import PolicyStep
from jax_agents.serving import EpisodeRecorder
from jax_agents.serving.messages import MessageError


def observation(x):
    return np.array([x], np.float32)


def play(truncated):
    recorder, rows = EpisodeRecorder(), []
    for x, rewards in [(0.0, [1.0, 0.5]), (1.0, []), (2.0, [-2.0])]:
        _, new = recorder.observe(observation(x))
        rows += new
        recorder.act(PolicyStep(np.int32(x), (), {"log_prob": np.float32(-x)}))
        for reward in rewards:
            recorder.reward(reward)
    return recorder, rows + recorder.end(observation(3.0), truncated)


@pytest.mark.parametrize("truncated", [False, True])
def test_rows_of_three_steps(truncated):
    recorder, rows = play(truncated)
    table = [
        (
            int(r.step_type),
            float(r.observation[0]),
            int(r.action),
            int(r.next_step_type),
            float(r.reward),
            float(r.discount),
        )
        for r in rows
    ]
    assert table == [
        (0, 0.0, 0, 1, 1.5, 1.0),
        (1, 1.0, 1, 1, 0.0, 1.0),
        (1, 2.0, 2, 2, -2.0, 1.0 if truncated else 0.0),
        (2, 3.0, 2, 0, 0.0, 1.0),  # the boundary row, with the last action again
    ]
    assert [float(r.policy_info["log_prob"]) for r in rows] == [0.0, -1.0, -2.0, -2.0]
    assert (recorder.total_reward, recorder.num_steps) == (-0.5, 3)


def test_rows_are_the_drivers():
    """From what a driver sees and does, the recorder makes its rows, boundary rows included."""
    env = envs.gym.make("CartPole-v1")
    rows = []
    driver = drivers.Driver(
        env, policies.RandomPolicy(env.specs.action), [rows.append], key=jax.random.key(0), seed=0
    )
    driver.run(num_episodes=3)
    recorder, made = EpisodeRecorder(), []
    for row in rows:
        if row.is_last():
            continue
        made += recorder.observe(row.observation)[1]
        recorder.act(PolicyStep(row.action, (), row.policy_info))
        recorder.reward(float(row.reward))
        if row.next_step_type == 2:
            last = rows[len(made) + 1]
            made += recorder.end(last.observation, truncated=bool(row.discount))
            recorder = EpisodeRecorder()
    assert len(made) == len(rows)
    for mine, other in zip(made, rows, strict=True):
        if mine.is_last():  # which action stands there is nobody's business
            mine, other = mine._replace(action=0), other._replace(action=0)
        jax.tree.map(np.testing.assert_array_equal, mine, other)
        assert jax.tree.map(lambda x: np.asarray(x).dtype, mine) == jax.tree.map(
            lambda x: np.asarray(x).dtype, other
        )


def test_time_steps_to_act_on():
    recorder = EpisodeRecorder()
    first, _ = recorder.observe(observation(0.0))
    assert first.is_first() and first.reward == 0 and not recorder.acted
    recorder.act(PolicyStep(np.int32(0)))
    recorder.reward(2.0)
    second, _ = recorder.observe(observation(1.0))
    assert second.is_mid() and second.reward == 2.0


def test_an_episode_without_actions_makes_no_rows():
    assert EpisodeRecorder().end(observation(0.0), False) == []
    recorder = EpisodeRecorder()
    recorder.reward(5.0)  # earned by no action
    recorder.observe(observation(0.0))
    assert recorder.end(observation(1.0), False) == [] and recorder.total_reward == 0


def test_rewards_whose_sum_is_too_great():
    recorder = EpisodeRecorder()
    recorder.observe(observation(0.0))
    recorder.act(PolicyStep(np.int32(0)))
    recorder.reward(-9e8)
    with pytest.raises(MessageError, match=r"a sum of magnitude 1\.1e\+09, .* 1e\+09 in a step"):
        recorder.reward(-2e8)
    assert recorder.end(observation(1.0), False)[0].reward == np.float32(-9e8)
