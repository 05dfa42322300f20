"""Stacks of frames, taken apart and put together again."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_agents.envs.specs import (
    ArraySpec,
    BoundedSpec,
    DiscreteSpec,
    EnvironmentSpecs,
    trajectory_spec,
    zeros,
)
from jax_agents.envs.types import StepType
from jax_agents.replay.stacking import FrameStack

OBSERVATION = {
    "camera": BoundedSpec((1, 1, 6), np.uint8, np.arange(6, dtype=np.uint8), 255),
    "depth": ArraySpec((1, 1, 3), np.float32),
    "speed": ArraySpec((3,), np.float32),
}
SPEC = trajectory_spec(EnvironmentSpecs(OBSERVATION, DiscreteSpec(2)))


def test_a_stored_row_has_the_newest_frame_of_each_stack():
    stack = FrameStack(SPEC, 3)
    stored = stack.stored_spec.observation
    assert (stored["camera"].shape, stored["depth"].shape) == ((1, 1, 2), (1, 1, 1))
    np.testing.assert_array_equal(stored["camera"].low, [[[4, 5]]])
    assert stored["speed"] == OBSERVATION["speed"]
    row = zeros(SPEC)
    row = row._replace(observation=row.observation | {"camera": np.arange(6).reshape(1, 1, 6)})
    assert stack.frame(row, 0).observation["camera"].tolist() == [[[0, 1]]]
    assert stack.frame(row, 2).observation["camera"].tolist() == [[[4, 5]]]
    camera, depth = stack.stacks(row)
    assert camera.tolist() == [[[[0, 1], [2, 3], [4, 5]]]] and depth.shape == (1, 1, 3, 1)


@pytest.mark.parametrize("numpy", [np, jnp])
def test_stacks_end_at_the_first_row_of_their_episode(numpy):
    stack = FrameStack(SPEC, 3)
    types = np.int32([[StepType.MID, StepType.LAST, StepType.FIRST, StepType.MID, StepType.MID]])
    rows = jax.tree.map(lambda s: np.zeros((1, 5, *s.shape), s.dtype), stack.stored_spec)
    depth = np.arange(5, dtype=np.float32).reshape(1, 5, 1, 1, 1)
    rows = rows._replace(step_type=types, observation=rows.observation | {"depth": depth})
    rebuilt = stack.rebuild(jax.tree.map(numpy.asarray, rows))
    assert isinstance(rebuilt.step_type, np.ndarray if numpy is np else jax.Array)
    got = np.asarray(rebuilt.observation["depth"])[0, :, 0, 0].tolist()
    assert got == [[2, 2, 2], [2, 2, 3], [2, 3, 4]]  # the reset frame repeated, then its followers
    assert rebuilt.observation["speed"].shape == (1, 3, 3)


def test_what_is_no_stack_is_refused():
    with pytest.raises(ValueError, match="at least 2 frames, got 1"):
        FrameStack(SPEC, 1)
    with pytest.raises(ValueError, match=r"a stack of 4 frames .*float32\[3\]"):
        FrameStack(SPEC, 4)
