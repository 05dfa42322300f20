"""Rows like CartPole's that say which ones they are, for the tests of single buffers."""

import itertools

import numpy as np
import pytest

from jax_agents.envs.specs import ArraySpec, DiscreteSpec, EnvironmentSpecs, trajectory_spec
from jax_agents.envs.types import StepType, Trajectory

SPEC = trajectory_spec(EnvironmentSpecs(ArraySpec((4,)), DiscreteSpec(1_000_000)))  # 36 bytes


@pytest.fixture
def spec():
    """That of the rows."""
    return SPEC


@pytest.fixture
def make_row():
    """Makes row number n: its observation, action and reward are all n."""

    def make_row(number, step_type=StepType.MID, next_step_type=StepType.MID):
        observation, reward = np.full(4, number, np.float32), np.float32(number)
        action, one = np.int32(number), np.float32(1)
        return Trajectory(
            np.int32(step_type), observation, action, (), np.int32(next_step_type), reward, one
        )

    return make_row


@pytest.fixture
def fill(make_row):
    """Adds rows of these numbers to a buffer, and returns it."""

    def fill(replay, numbers):
        for number in numbers:
            replay.add(make_row(number))
        return replay

    return fill


@pytest.fixture
def draws():
    """Draws so many batches."""
    return lambda replay, batches=20, batch_size=64: list(
        itertools.islice(replay.as_dataset(batch_size), batches)
    )


@pytest.fixture
def first_rows():
    """The numbers `[N]` of the rows that samples begin with, after checking that the rows of each
    are one after the other.
    """

    def first_rows(samples):
        found = []
        for experience, _ in samples:
            np.testing.assert_array_equal(np.diff(experience.action, axis=1), 1)
            np.testing.assert_array_equal(experience.reward, experience.action)
            np.testing.assert_array_equal(
                experience.observation, np.stack([experience.reward] * 4, axis=-1)
            )
            found.append(experience.action[:, 0])
        return np.concatenate(found)

    return first_rows


@pytest.fixture
def starts(first_rows):
    """The set of these, in all samples that are given or in so many of them."""
    return lambda samples, batches=None: set(
        first_rows(itertools.islice(samples, batches)).tolist()
    )


@pytest.fixture
def make_reverb():
    """A factory of Reverb buffers, with 3 s of patience, that are closed at the end."""
    from jax_agents.replay import ReverbReplay

    made = []

    def build(**config):
        made.append(ReverbReplay(SPEC, **{"capacity": 1000, "timeout": 3.0, **config}))
        return made[-1]

    yield build
    for replay in reversed(made):
        replay.close()
