"""Statistics of rows: which rows count, and what is made of observations and rewards."""

import jax
import jax.numpy as jnp
import numpy as np

from jax_agents.agents.agent import TrainState
from jax_agents.agents.normalizing import first_statistics, normalize_rows
from jax_agents.envs.specs import ArraySpec, DiscreteSpec, EnvironmentSpecs
from jax_agents.envs.types import StepType, Trajectory

FIRST, MID, LAST = StepType.FIRST, StepType.MID, StepType.LAST
SPECS = EnvironmentSpecs(ArraySpec((1,)), DiscreteSpec(2))


def rows(observation, discounted_return, step_type):
    shape = np.shape(step_type)
    return Trajectory(
        step_type=np.array(step_type),
        observation=np.reshape(np.float32(observation), (*shape, 1)),
        action=np.zeros(shape, np.int32),
        policy_info={"discounted_return": np.reshape(np.float32(discounted_return), shape)},
        next_step_type=np.full(shape, MID),
        reward=np.ones(shape, np.float32),
        discount=np.ones(shape, np.float32),
    )


def state(**extra):
    return TrainState({}, {}, (), jnp.int32(0), jax.random.key(0), extra)


def test_only_what_is_asked_for_has_statistics():
    assert first_statistics(SPECS, False, False) == {}
    assert set(first_statistics(SPECS, True, False)) == {"observation_statistics"}
    assert set(first_statistics(SPECS, False, True)) == {"return_statistics"}
    segment = rows([[1, 2, 3]], [[0, 0, 0]], [[FIRST, MID, MID]])
    after, same = normalize_rows(state(), segment)
    assert after.extra == {} and same is segment


def test_observations_are_standardised_by_all_rows_but_the_bootstrap_row():
    segment = rows([[1, 3, 100]], [[0, 0, 0]], [[FIRST, MID, MID]])
    after, normal = normalize_rows(state(**first_statistics(SPECS, True, False)), segment)
    statistics = after.extra["observation_statistics"]
    assert statistics.count == 2 and statistics.mean == 2.0
    np.testing.assert_allclose(normal.observation[0, :, 0], [-1.0, 1.0, 10.0], rtol=1e-4)


def test_rewards_are_divided_by_the_deviation_of_returns_without_first_rows():
    segment = rows([[0, 0, 0, 0]], [[50, 2, 6, 50]], [[FIRST, MID, MID, MID]])
    after, normal = normalize_rows(state(**first_statistics(SPECS, False, True)), segment)
    assert after.extra["return_statistics"].count == 2
    np.testing.assert_allclose(normal.reward, np.full((1, 4), 0.5), rtol=1e-4)


def test_padding_after_an_episode_does_not_count():
    segment = rows([[1, 3, 9, 9]], [[0, 0, 0, 0]], [[MID, LAST, LAST, LAST]])
    after, _ = normalize_rows(state(**first_statistics(SPECS, True, False)), segment)
    assert after.extra["observation_statistics"].count == 2
