import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from jax_agents.envs import ArraySpec, BoundedSpec, DiscreteSpec, SpecError, validate
from jax_agents.envs.gym_spaces import actions, observations
from jax_agents.envs.validation import _draw_action

OBSERVATION_SPACES = [
    (spaces.Box(-1, 1, (2,), np.float32), BoundedSpec((2,), np.float32, -1, 1)),
    (
        spaces.Box(-np.inf, np.array([1.0, 2.0]), (2,), np.float64),
        BoundedSpec((2,), np.float32, -np.inf, [1, 2]),
    ),
    (spaces.Box(0, 255, (2, 2, 3), np.uint8), BoundedSpec((2, 2, 3), np.uint8, 0, 255)),
    (spaces.Box(-(2**40), 7, (1,), np.int64), BoundedSpec((1,), np.int32, -(2**31), 7)),
    (spaces.Discrete(4), DiscreteSpec(4)),
    (spaces.Discrete(4, start=-2), DiscreteSpec(4)),
    (spaces.MultiDiscrete([2, 3]), DiscreteSpec((2, 3))),
    (spaces.MultiDiscrete([2, 3], start=[5, -1]), DiscreteSpec((2, 3))),
    (spaces.MultiDiscrete([[2, 3]]), BoundedSpec((1, 2), np.int32, 0, [[1, 2]])),
    (spaces.MultiBinary(3), BoundedSpec((3,), np.int8, 0, 1)),
    (spaces.MultiBinary((2, 2)), BoundedSpec((2, 2), np.int8, 0, 1)),
    (
        spaces.Tuple((spaces.Discrete(2), spaces.Box(0, 1, (1,)))),
        (DiscreteSpec(2), BoundedSpec((1,), np.float32, 0, 1)),
    ),
    (
        spaces.Dict(
            {
                "a": spaces.Dict({"b": spaces.Discrete(2, start=1)}),
                "action_mask": spaces.MultiBinary(3),
            }
        ),
        {"a": {"b": DiscreteSpec(2)}, "action_mask": ArraySpec((3,), np.bool_)},
    ),
    (
        spaces.Dict(
            {"action_mask": spaces.Box(0, 1, (3,), np.int8), "observation": spaces.Box(0, 1, ())}
        ),
        {
            "action_mask": ArraySpec((3,), np.bool_),
            "observation": BoundedSpec((), np.float32, 0, 1),
        },
    ),
]
ACTION_SPACES = [
    spaces.Discrete(3),
    spaces.Discrete(3, start=4),
    spaces.MultiDiscrete([2, 3]),
    spaces.MultiDiscrete([2, 3], start=[1, -1]),
    spaces.MultiBinary(3),
    spaces.Box(-2, 2, (2,), np.float32),
    spaces.Box(-2, 2, (2,), np.float64),
    spaces.Box(-2, 2, (2, 2), np.int64),
    spaces.Tuple((spaces.Discrete(2, start=1), spaces.Box(0, 1, (1,)))),
    spaces.Dict(
        {"a": spaces.Discrete(2), "b": spaces.Dict({"c": spaces.Box(0, 1, (1,), np.float64)})}
    ),
]


@pytest.mark.parametrize(("space", "expected"), OBSERVATION_SPACES, ids=str)
def test_observations_meet_the_spec_alone_and_in_batches(space, expected):
    space.seed(0)
    spec, convert = observations(space, None)
    assert spec == expected
    for _ in range(5):
        validate(convert(space.sample()), spec, values=True)
    batched = gymnasium.vector.utils.batch_space(space, 3)
    batched.seed(0)
    spec, convert = observations(space, 3)
    assert spec == expected
    validate(convert(batched.sample()), spec, batch_ndim=1, values=True)


def test_bounds_that_float32_does_not_hold_are_none():
    assert observations(spaces.Box(-1e300, 1e300, (1,), np.float64), None).spec == BoundedSpec(
        (1,), np.float32
    )


@pytest.mark.parametrize("bound", [0.1, 0.3, 1.0, 1e30])
def test_actions_at_float32_bounds_are_within_a_float64_space(bound):
    space = spaces.Box(-bound, bound, (2,), np.float64)
    spec, convert = actions(space, None)
    assert convert(spec.high) in space and convert(spec.low) in space
    np.testing.assert_allclose(spec.high, bound, rtol=1e-6)


def test_integers_that_32_bits_do_not_hold_saturate():
    convert = observations(spaces.Box(-(2**40), 2**40, (2,), np.int64), None).convert
    np.testing.assert_array_equal(convert(np.array([2**35 + 5, -3])), [2**31 - 1, -3])


def test_values_are_shifted_to_start_at_zero():
    assert observations(spaces.Discrete(4, start=-2), None).convert(np.int64(1)) == 3
    np.testing.assert_array_equal(
        observations(spaces.Discrete(4, start=-2), 2).convert(np.array([-2, 1])), [0, 3]
    )
    multi = spaces.MultiDiscrete([2, 3], start=[5, -1])
    np.testing.assert_array_equal(observations(multi, None).convert(np.array([6, -1])), [1, 0])
    np.testing.assert_array_equal(actions(multi, None).convert(np.int32([1, 0])), [6, -1])
    assert actions(spaces.Discrete(3, start=4), None).convert(np.int32(2)) == 6


@pytest.mark.parametrize("space", ACTION_SPACES, ids=str)
def test_every_action_that_meets_the_spec_is_in_the_space(space):
    rng = np.random.default_rng(0)
    spec, convert = actions(space, None)
    batched_space, batched = gymnasium.vector.utils.batch_space(space, 4), actions(space, 4).convert
    for _ in range(10):
        assert space.contains(convert(_draw_action(spec, (), rng, ())))
        action = batched(_draw_action(spec, (), rng, (4,)))
        assert batched_space.contains(action)
        assert all(
            space.contains(one) for one in gymnasium.vector.utils.iterate(batched_space, action)
        )


@pytest.mark.parametrize(
    ("space", "num_envs", "action", "words"),
    [
        (spaces.Discrete(3), None, 3, "expected an integer in 0..2, got 3"),
        (spaces.Discrete(3), None, -1, "expected an integer in 0..2, got -1"),
        (spaces.Discrete(3), None, 1.0, r"int32\[\] in 0..2, got float64\[\]"),
        (spaces.Discrete(3), None, np.array([1], np.int32), r"got int32\[1\]; .*x\[0\]"),
        (spaces.Discrete(3), None, None, "action"),
        (spaces.Discrete(3), 2, np.int32([0, 3]), r"lie outside 0..2: \[3\]"),
        (spaces.Discrete(3), 2, np.int32([0, 1, 2]), "leading axis of 2"),
        (spaces.Discrete(3), 2, np.int32(0), "add 1 leading axis"),
        (spaces.MultiDiscrete([2, 3]), None, np.int32([2, 0]), "1 of 2 numbers lie outside"),
        (spaces.Box(-1, 1, (2,)), None, np.zeros(2), "cast it with .astype"),
        (spaces.Box(-1, 1, (2,)), None, np.zeros(3, np.float32), r"float32\[2\], got float32\[3\]"),
        (spaces.Dict({"a": spaces.Discrete(2)}), None, {"b": 0}, "action/a: missing"),
        (spaces.Dict({"a": spaces.Discrete(2)}), None, {"a": 0.5}, "action/a: expected int32"),
        (spaces.Tuple((spaces.Discrete(2), spaces.Discrete(2))), None, (1,), "action/1: missing"),
    ],
)
def test_wrong_actions_are_refused(space, num_envs, action, words):
    with pytest.raises(SpecError, match=words):
        actions(space, num_envs).convert(action)


def test_actions_beyond_the_bounds_pass_since_policies_clip():
    np.testing.assert_array_equal(
        actions(spaces.Box(-1, 1, (1,)), None).convert(np.float32([3])), [3]
    )


@pytest.mark.parametrize(
    "space",
    [spaces.Text(3), spaces.Sequence(spaces.Discrete(2)), spaces.Dict({"a": spaces.Text(3)})],
)
def test_spaces_without_a_spec(space):
    for convert in (observations, actions):
        with pytest.raises(
            ValueError, match=r"(observation|action)(/a)?: expected a Box.*got (Text|Sequence)"
        ):
            convert(space, None)
    with pytest.raises(ValueError, match="action: expected"):
        actions(spaces.MultiBinary((2, 2)), None)


def test_an_observation_of_another_shape_than_promised():
    with pytest.raises(
        SpecError,
        match=r"observation: the environment's space promises shape \[2\], but it returned \[3\]",
    ):
        observations(spaces.Box(-1, 1, (2,)), None).convert(np.zeros(3))
