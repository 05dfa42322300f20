import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_agents.envs import (
    StepType,
    TimeStep,
    bootstrap_row,
    join_action_mask,
    make_row,
    split_action_mask,
)
from jax_agents.envs.types import PolicyStep, Trajectory


def time_step(step_type, reward, discount, observation):
    return TimeStep(
        np.int32(step_type), np.float32(reward), np.float32(discount), np.float32(observation)
    )


def test_a_row_joins_the_time_step_with_what_followed_it():
    now, following = time_step(0, 0, 1, [1, 2]), time_step(2, 5, 0, [3, 4])
    row = make_row(now, PolicyStep(np.int32(1), (), {"log_prob": np.float32(-0.5)}), following)
    assert (row.step_type, row.next_step_type, row.reward, row.discount, row.action) == (
        0,
        2,
        5,
        0,
        1,
    )
    np.testing.assert_array_equal(row.observation, [1, 2])
    assert row.policy_info == {"log_prob": np.float32(-0.5)}
    assert not row.is_last()


def test_step_types_are_elementwise_and_traceable():
    steps = TimeStep(jnp.array([0, 1, 2]), *[jnp.zeros(3)] * 3)
    kinds = jax.jit(lambda t: (t.is_first(), t.is_mid(), t.is_last()))(steps)
    np.testing.assert_array_equal(np.stack(kinds), np.eye(3, dtype=bool))
    assert (StepType.FIRST, StepType.MID, StepType.LAST) == (0, 1, 2)


def test_bootstrap_row_keeps_the_observation_and_zeros_the_rest():
    row = Trajectory(
        np.int32(1),
        {"x": np.ones(2)},
        np.int32(3),
        {"log_prob": np.float32(1)},
        np.int32(1),
        np.float32(7),
        1.0,
    )
    last = TimeStep(np.int32(2), np.float32(9), np.float32(0), {"x": np.full(2, 4.0)})
    boot = bootstrap_row(last, row)
    assert boot.step_type == 2 and boot.is_last()
    np.testing.assert_array_equal(boot.observation["x"], [4, 4])
    rest = boot._replace(step_type=0, observation=())
    assert all(np.all(np.asarray(leaf) == 0) for leaf in jax.tree.leaves(rest))


@pytest.mark.parametrize("array", [np.asarray, jnp.asarray, lambda x: x])
def test_bootstrap_row_keeps_every_dtype(array):
    """Single rows have NumPy's scalars as leaves, and some leaves are not numbers."""
    info = {"flag": np.bool_(True), "bad": np.float32(np.nan)}
    row = jax.tree.map(
        array,
        Trajectory(
            np.int32(1), np.float32(2), np.int32(3), info, np.int32(1), np.float32(7), np.float32(1)
        ),
    )
    boot = bootstrap_row(TimeStep(row.step_type, row.reward, row.discount, row.observation), row)
    assert [np.asarray(x).dtype for x in jax.tree.leaves(boot)] == [
        np.asarray(x).dtype for x in jax.tree.leaves(row)
    ]
    assert not boot.policy_info["flag"] and boot.policy_info["bad"] == 0


def test_split_action_mask():
    mask = np.array([True, False])
    assert split_action_mask(mask)[0] is mask and split_action_mask(mask)[1] is None
    plain, none = split_action_mask({"a": 1})
    assert plain == {"a": 1} and none is None
    rest, found = split_action_mask({"observation": 5, "action_mask": mask})
    assert rest == 5 and found is mask
    rest, found = split_action_mask({"a": 1, "b": 2, "action_mask": mask})
    assert rest == {"a": 1, "b": 2} and found is mask


def test_join_action_mask_is_the_inverse():
    features = np.ones(3, np.float32)
    assert join_action_mask(features, None) is features
    rest, mask = split_action_mask(join_action_mask(features, np.array([True, False])))
    assert rest is features
    assert mask.tolist() == [True, False]
