"""The checks of specs, masks, time steps and numbers, one by one; `tests/test_paths.py` has who
makes them.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_agents.envs.checks import (
    check_at_least,
    check_discount,
    check_jax_environment,
    check_mask,
    check_row_spec,
    check_specs,
    check_time_step,
)
from jax_agents.envs.classic import CartPole
from jax_agents.envs.specs import (
    ArraySpec,
    BoundedSpec,
    DiscreteSpec,
    EnvironmentSpecs,
    SpecError,
    trajectory_spec,
)
from jax_agents.envs.types import TimeStep

SPECS = EnvironmentSpecs(
    {"observation": ArraySpec((2,)), "action_mask": ArraySpec((3,), np.bool_)}, DiscreteSpec(3)
)
SOUND = [
    SPECS,
    EnvironmentSpecs(ArraySpec((2,), np.uint8), BoundedSpec((2,), np.float32, -1, 1)),
    EnvironmentSpecs((DiscreteSpec(3), {"a": ArraySpec(())}), DiscreteSpec((2, 2))),
    EnvironmentSpecs(ArraySpec((2,), jnp.bfloat16), ArraySpec((1,))),
    EnvironmentSpecs(
        {"x": ArraySpec(()), "action_mask": ArraySpec((5,), np.bool_)}, DiscreteSpec((2, 3))
    ),
    EnvironmentSpecs(
        ArraySpec((2,)), DiscreteSpec(2), BoundedSpec((), np.float16, -1, 1), ArraySpec(())
    ),
]


@pytest.mark.parametrize("specs", SOUND)
def test_sound_specs_pass(specs):
    check_specs(specs)
    check_row_spec(trajectory_spec(specs))


def test_64_bits_are_for_those_who_have_them():
    specs = EnvironmentSpecs(ArraySpec((2,), np.float64), DiscreteSpec(2))
    with pytest.raises(SpecError, match=r"observation: expected at most 32 bits.*float64\[2\]"):
        check_specs(specs)
    jax.config.update("jax_enable_x64", True)
    try:
        check_specs(specs)
    finally:
        jax.config.update("jax_enable_x64", False)


def test_what_is_no_row_has_no_row_spec():
    check_row_spec({"anything": ArraySpec((2,), np.float64)})


@pytest.mark.parametrize("number", [-0.1, 1.1, np.nan, [0.5, 2.0]])
def test_discounts_are_fractions(number):
    check_discount([0.0, 0.5, 1.0], "row")
    with pytest.raises(SpecError, match=r"row: discount: expected numbers in 0\.\.1, got"):
        check_discount(number, "row")


def test_a_mask_is_boolean_and_allows_an_action():
    check_mask(np.array([[True, False], [False, False]]), DiscreteSpec(2), np.array([1, 0]), "row")
    with pytest.raises(SpecError, match=r"row: action_mask: expected bool\[2\].*float32\[2\]"):
        check_mask(np.ones(2, np.float32), DiscreteSpec(2), np.True_, "row")
    with pytest.raises(SpecError, match="forbids every action"):
        check_mask(np.array([False, False]), DiscreteSpec(2), np.True_, "row")


def test_a_time_step_meets_the_specs_of_its_environment():
    step = TimeStep(
        np.zeros(4, np.int32),
        np.zeros(4, np.float32),
        np.ones(4, np.float32),
        {"observation": np.zeros((4, 2), np.float32), "action_mask": np.ones((4, 3), np.bool_)},
    )
    for values in (False, True):
        check_time_step(step, SPECS, (4,), "step", values=values)
        for changes, told in (
            ({"reward": np.zeros((4, 2), np.float32)}, "step: reward: expected"),
            ({"discount": np.ones(4)}, "step: discount: expected"),
            ({"observation": step.observation["observation"]}, "observation/action_mask: missing"),
        ):
            with pytest.raises(SpecError, match=told):
                check_time_step(step._replace(**changes), SPECS, (4,), "step", values=values)
    with pytest.raises(SpecError, match="num_envs=3"):
        check_time_step(step, SPECS, (3,), "step")
    with pytest.raises(SpecError, match="expected a TimeStep, got tuple"):
        check_time_step(tuple(step), SPECS, (4,), "step")


@dataclasses.dataclass(frozen=True, eq=False)
class Altered(CartPole):
    """CartPole whose time steps are not as its specs say."""

    def step(self, state, action):
        state, time_step = super().step(state, action)
        return state, time_step._replace(reward=time_step.reward[None])


def test_an_environment_in_jax_is_checked_without_a_step():
    check_jax_environment(CartPole())
    with pytest.raises(SpecError, match=r"time step/reward: step returns float32\[1\]"):
        check_jax_environment(Altered())


@pytest.mark.parametrize("number", [0, -1])
def test_numbers_that_are_too_small(number):
    with pytest.raises(ValueError, match=rf"^Loop: expected num_rows >= 1, got {number}$"):
        check_at_least("Loop", 1, {"num_rows": number})


@pytest.mark.parametrize("number", [1.0, True, "3", None, np.float32(2)])
def test_numbers_that_are_no_integers(number):
    check_at_least("Loop", 1, {"num_rows": np.int64(3)})
    with pytest.raises(ValueError, match=r"^Loop: expected an integer num_rows >= 1, got"):
        check_at_least("Loop", 1, {"num_rows": number})
