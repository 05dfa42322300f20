import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from jax_agents import envs
from jax_agents.experiments import DqnConfig, ReinforceConfig, Trainer
from jax_agents.experiments.trained.environments import (
    JAX_ENVIRONMENTS,
    OWN_ENVIRONMENTS,
    host_environment,
    jax_environment,
)


@pytest.mark.parametrize("env_id", JAX_ENVIRONMENTS)
def test_every_jax_environment_is_gymnasiums_of_that_id(env_id):
    ours, theirs = jax_environment(env_id).specs, host_environment(env_id, None).specs
    assert ours.observation.shape == theirs.observation.shape
    assert type(ours.action) is type(theirs.action)


@pytest.mark.parametrize("name", OWN_ENVIRONMENTS)
def test_our_own_ones_are_there_in_both_loops(name):
    ours, host = jax_environment(name), host_environment(name, 2, max_episode_steps=3)
    assert ours.specs.observation.shape == host.specs.observation.shape
    assert host.reset(0).observation.shape == (2, *ours.specs.observation.shape)
    step_types = [host.step(np.zeros(2, np.int32)).step_type.tolist() for _ in range(3)]
    assert step_types == [[1, 1], [1, 1], [2, 2]]


def test_environments_that_are_not_in_jax():
    env = envs.classic.CartPole()
    assert jax_environment(env) is env
    assert jax_environment(env, 7).max_episode_steps == 7
    assert jax_environment(env, -1).max_episode_steps is None
    with pytest.raises(
        ValueError, match=r"'CartPole-v0' is not; did you mean 'CartPole-v1'.*have a runner 'loop'"
    ):
        jax_environment("CartPole-v0")
    with pytest.raises(ValueError, match="needs a JAX environment or the id of one"):
        jax_environment(lambda: None)
    with pytest.raises(ValueError, match="MapObservation has no field max_episode_steps"):
        jax_environment("CartPole-v1-positions", -1)


class Rooms(gymnasium.Env):
    """Reports a dict: a room, counted from 1, where one is in it, and how many steps are left."""

    observation_space = spaces.Dict(
        {
            "room": spaces.Discrete(3, start=1),
            "where": spaces.Tuple([spaces.Box(-1, 1, (2,)), spaces.MultiDiscrete([2, 4])]),
        }
    )
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._steps = 0
        return self._see(), {}

    def step(self, action):
        self._steps += 1
        return self._see(), float(action), self._steps == 4, False, {}

    def _see(self):
        where = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return {
            "room": np.int64(1 + self._steps % 3),
            "where": (where, np.array([self._steps % 2, self._steps % 4])),
        }


def test_a_dict_with_a_tuple_is_one_vector_in_training_evaluation_and_acting():
    config = ReinforceConfig(hidden=(4,), num_envs=2, num_rows=8, iterations_per_report=1)
    trainer = Trainer(config, Rooms)
    assert trainer.train()["loss"] is not None
    assert trainer.agent.specs.observation.shape == (3 + 2 + 6,)
    raw, env = Rooms(), trainer.make_environment()
    observation, _ = raw.reset(seed=trainer.evaluation_seed)
    time_step, total, ended = env.reset(trainer.evaluation_seed), 0.0, False
    while not ended:  # gymnasium's own observations, and what the policy sees of the same episode
        np.testing.assert_array_equal(
            trainer.preprocessor.convert(observation), time_step.observation
        )
        action = trainer.compute_action(observation)
        observation, reward, ended, _, _ = raw.step(action)
        time_step = env.step(np.int32(action))
        total += reward
    assert time_step.is_last() and trainer.evaluate(1).tolist() == [total]
    trainer.close()


def test_a_preprocessor_of_ones_own_is_a_wrapper_in_the_function_that_makes_the_environment():
    space = spaces.Box(-1, 1, (1,), np.float32)

    def make():
        return gymnasium.wrappers.TransformObservation(
            Rooms(), lambda seen: seen["where"][0][:1], space
        )

    trainer = Trainer(ReinforceConfig(hidden=(4,), num_envs=2, num_rows=8), make)
    assert trainer.preprocessor is None and trainer.agent.specs.observation.shape == (1,)
    assert trainer.compute_action(np.float32([0.5])) in (0, 1)
    trainer.close()


@pytest.mark.nightly
def test_atari_frames_are_84_by_84():
    pytest.importorskip("ale_py", reason='needs pip install "jax-agents[atari]"')
    config = DqnConfig(
        hidden=(16,),
        warmup_steps=100,
        batch_size=4,
        steps_per_report=150,
        replay_capacity=400,
        max_episode_steps=200,
    )
    trainer = Trainer(config, "ALE/Pong-v5", replay="host")
    assert trainer.preprocessor.kind == "resize" and trainer.agent.specs.observation.shape == (
        84,
        84,
        3,
    )
    trainer.train()
    assert np.isfinite(trainer.train()["loss"])
    raw = trainer.make_environment(preprocess=False).reset(0).observation
    assert raw.shape == (210, 160, 3) and trainer.compute_action(raw) in range(6)
    assert len(trainer.evaluate(1)) == 1
    trainer.close()


@pytest.mark.parametrize("make", [envs.gym.make, gymnasium.make])
@pytest.mark.parametrize("runner", ["loop", "device"])
def test_an_environment_itself_cannot_be_made_again(make, runner):
    with pytest.raises(
        TypeError, match=r"^env: expected an id, a function .*, got the environment \w+ itself$"
    ):
        Trainer(ReinforceConfig(), make("CartPole-v1"), runner=runner)
    Trainer(ReinforceConfig(), lambda: gymnasium.make("CartPole-v1")).close()
