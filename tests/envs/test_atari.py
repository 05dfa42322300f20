"""Real games, some hundred steps of each."""

import itertools

import gymnasium
import jax
import numpy as np
import optax
import pytest

from jax_agents import agents, drivers, envs, metrics, networks, policies, replay
from jax_agents.envs import StepType, atari, validate_environment

ale_py = pytest.importorskip("ale_py", reason='needs pip install "jax-agents[atari]"')
pytest.importorskip("cv2", reason='needs pip install "jax-agents[atari]"')
gymnasium.register_envs(ale_py)


def test_frames_are_gymnasiums_and_stacks_are_the_last_four():
    env = atari.make("ALE/Pong-v5")
    raw = gymnasium.make("ALE/Pong-v5", frameskip=1)
    frames = gymnasium.wrappers.AtariPreprocessing(raw)
    spec = env.specs.observation
    assert spec.shape == (84, 84, 4) and spec.dtype == np.uint8 and env.specs.action.num_values == 6
    observation = env.reset(seed=3).observation
    seen = [frames.reset(seed=3)[0]] * 4
    np.testing.assert_array_equal(observation, np.stack(seen, axis=-1))
    for i in range(60):
        time_step = env.step(i % 6)
        frame, reward, *_ = frames.step(i % 6)
        seen.append(frame)
        np.testing.assert_array_equal(time_step.observation, np.stack(seen[-4:], axis=-1))
        assert time_step.reward == reward
        assert time_step.observation.flags.c_contiguous
    assert len({frame.tobytes() for frame in seen}) > 50  # something moves
    assert env.render().shape == (210, 160, 3)


@pytest.mark.parametrize(
    ("name", "sticky"), [("ALE/Breakout-v5", 0.25), ("BreakoutNoFrameskip-v4", 0.0)]
)
def test_sticky_actions_belong_to_the_id(name, sticky):
    env = atari.make(name)
    ale = env.env.unwrapped.ale
    assert ale.getFloat("repeat_action_probability") == sticky
    assert (
        atari.make(name, env_options={"repeat_action_probability": 0.5}).env.unwrapped.ale.getFloat(
            "repeat_action_probability"
        )
        == 0.5
    )
    assert env.specs.action.num_values == 4


def play(env, num_steps, seed=0):
    """Time steps of random play, as arrays `[T, ...]`, without their pictures."""
    rng = np.random.default_rng(seed)
    steps = [env.reset(seed)]
    batch = () if env.num_envs is None else (env.num_envs,)
    for _ in range(num_steps):
        steps.append(env.step(np.asarray(rng.integers(0, 4, batch), np.int32)))
    return jax.tree.map(lambda *x: np.stack(x), *(s._replace(observation=()) for s in steps))


def test_a_life_lost_is_a_termination_for_learning_and_no_end_of_the_episode():
    lives = play(atari.make("BreakoutNoFrameskip-v4", terminal_on_life_loss=True), 500)
    whole = play(atari.make("BreakoutNoFrameskip-v4"), 500)
    np.testing.assert_array_equal(lives.step_type, whole.step_type)  # the same games
    np.testing.assert_array_equal(lives.reward, whole.reward)
    ends = np.flatnonzero(whole.step_type == StepType.LAST)
    assert len(ends) >= 2
    np.testing.assert_array_equal(whole.discount == 0, whole.step_type == StepType.LAST)
    lost = np.flatnonzero(lives.discount == 0)
    for begin, end in itertools.pairwise([-1, *ends]):
        in_game = lost[(lost > begin) & (lost <= end)]
        assert len(in_game) == 5 and in_game[-1] == end  # five lives, the last with the game


def test_vectorised_games_lose_lives_one_by_one():
    env = atari.make("BreakoutNoFrameskip-v4", 3, terminal_on_life_loss=True)
    assert env.reset(seed=0).observation.shape == (3, 84, 84, 4)
    steps = play(env, 250)
    lost = (steps.discount == 0) & (steps.step_type == StepType.MID)
    assert (lost.sum(axis=0) >= 4).all() and (lost.sum(axis=1) == 1).any()
    validate_environment(env, 60, allow_zero_discount=True)


def test_what_zero_discounts_within_an_episode_need_to_pass_validation():
    env = atari.make("BreakoutNoFrameskip-v4", terminal_on_life_loss=True)
    with pytest.raises(envs.SpecError, match="allow_zero_discount"):
        validate_environment(env, 400)
    validate_environment(atari.make("BreakoutNoFrameskip-v4"), 150)


def test_the_time_limit_truncates_with_the_frame_just_seen():
    env = atari.make("PongNoFrameskip-v4", max_episode_frames=40, noop_max=0)
    steps = [env.reset(seed=0)] + [env.step(2) for _ in range(11)]
    assert [int(s.step_type) for s in steps] == [0, *[1] * 9, 2, 0]
    last = steps[10]
    assert last.discount == 1
    longer = atari.make("PongNoFrameskip-v4", noop_max=0)
    longer.reset(seed=0)
    np.testing.assert_array_equal(
        [longer.step(2) for _ in range(10)][-1].observation, last.observation
    )


def test_clipping_is_for_training_and_metrics_keep_the_true_returns():
    class Paid(gymnasium.RewardWrapper):
        def reward(self, reward):
            return 7.0 * reward

    game = lambda: atari.preprocessing(clip_rewards=True)(
        Paid(gymnasium.make("ALE/Pong-v5", frameskip=1))
    )
    rewards = play(envs.gym.make(game), 300).reward
    assert set(rewards.tolist()) == {0.0, -1.0} or set(rewards.tolist()) == {0.0, -1.0, 1.0}
    seen, true = [], []
    cut = atari.clip_rewards(seen.append)
    for reward in (-7.0, 0.0, 0.5, 7.0):
        row = envs.types.Trajectory(*[np.int32(0)] * 5, np.float32(reward), np.float32(1))
        cut(row)
        true.append(row.reward)
    assert [float(row.reward) for row in seen] == [-1.0, 0.0, 0.5, 1.0]
    assert all(row.reward.dtype == np.float32 for row in seen) and true == [-7.0, 0.0, 0.5, 7.0]


@pytest.fixture(scope="module")
def agent():
    env = atari.make("BreakoutNoFrameskip-v4", 2, terminal_on_life_loss=True)
    encoder = networks.Sequential(
        [networks.default_encoder(env.specs.observation), networks.MLP((32,))]
    )
    network = networks.QNetwork(env.specs.action.num_values, (), encoder)
    return env, agents.DqnAgent(env.specs, network, optax.adam(1e-4), n_step=3)


def test_dqn_learns_from_frames_stored_once(agent):
    env, dqn = agent
    state = dqn.init(jax.random.key(0))
    buffer = replay.FrameStackReplay(
        dqn.collect_data_spec,
        lambda spec, length: replay.HostReplay(spec, capacity=1_000, sequence_length=length),
        sequence_length=dqn.train_sequence_length,
    )
    returns = metrics.MetricObserver(metrics.AverageReturn())
    random = policies.RandomPolicy(env.specs.action)
    driver = drivers.Driver(
        env, random, [atari.clip_rewards(buffer.add), returns], key=jax.random.key(1), seed=0
    )
    driver.run(num_steps=600)
    assert driver.num_episodes >= 1
    train = jax.jit(dqn.train)
    before = jax.tree.map(np.asarray, state.params)
    for experience, _ in itertools.islice(buffer.as_dataset(sample_batch_size=8), 3):
        assert experience.observation.shape == (8, 4, 84, 84, 4)
        following = experience.observation[:, 1:][experience.step_type[:, 1:] != StepType.FIRST]
        previous = experience.observation[:, :-1][experience.step_type[:, 1:] != StepType.FIRST]
        np.testing.assert_array_equal(following[..., :-1], previous[..., 1:])
        state, loss = train(state, experience)
        assert np.isfinite(loss.loss)
    assert any(
        (a != b).any()
        for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(state.params), strict=True)
    )
    driver.set_policy(dqn.collect_policy, jax.random.key(2))
    driver.run(num_steps=4, params=dqn.policy_params(state))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"frame_stack": 0}, "frame_stack: expected at least 1, got 0"),
        ({"frame_skip": 0}, "frame_skip"),
        ({"max_episode_frames": 3}, "expected at least frame_skip=4, got 3"),
    ],
)
def test_wrong_options(options, words):
    with pytest.raises(ValueError, match=words):
        atari.make("ALE/Pong-v5", **options)


def test_raw_games_through_gym_make():
    env = envs.gym.make("ALE/Pong-v5", preprocess=True)
    assert env.specs.observation.shape == (84, 84, 3)
    assert envs.gym.make("PongNoFrameskip-v4").specs.observation.shape == (210, 160, 3)
    with pytest.raises(ValueError, match="did you mean ALE/Pong-v5"):
        atari.make("ALE/Pnog-v5")
