"""The reductions, by hand-worked windows and against plain Python on random streams."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jax_agents.agents.reductions import (
    learnable,
    padding,
    resets,
    split_bootstrap,
    to_transition,
    trace_lambda,
)
from jax_agents.envs.types import Trajectory

F, M, L = 0, 1, 2


def make_rows(step_type, observation, action, reward, discount, next_step_type=None):
    """Rows `[1, T]` from lists; the next step types are the following rows' unless given."""
    if next_step_type is None:
        next_step_type = [*step_type[1:], F if step_type[-1] == L else M]
    columns = Trajectory(
        step_type=np.array(step_type, np.int32),
        observation=jax.tree.map(
            lambda x: np.array(x, np.float32), observation, is_leaf=lambda x: isinstance(x, list)
        ),
        action=np.array(action, np.int32),
        policy_info={},
        next_step_type=np.array(next_step_type, np.int32),
        reward=np.array(reward, np.float32),
        discount=np.array(discount, np.float32),
    )
    return jax.tree.map(lambda x: x[None], columns)


transition_of = jax.jit(to_transition)


def test_three_steps_until_the_last_row():
    rows = make_rows(
        [F, M, M, L], [10, 20, 30, 40], [11, 22, 33, 44], [-1, 1, 2, 0], [0.9, 0.95, 1, 0]
    )
    out = transition_of(rows, 0.5)
    # -1 + .5*.9*1 + .25*.9*.95*2; gamma^3 * .9*.95*1 (TF-Agents leaves one gamma to its caller:
    # .21375)
    np.testing.assert_allclose(out.reward, [-0.1225], rtol=1e-6)
    np.testing.assert_allclose(out.discount, [0.21375 * 0.5], rtol=1e-6)
    assert (out.observation, out.action, out.next_observation, out.mask) == (10, 11, 40, 1)


def test_one_step():
    out = transition_of(make_rows([F, L], [10, 20], [1, 2], [-1, 0], [0.9, 1]), 0.5)
    np.testing.assert_allclose(out.reward, [-1])
    np.testing.assert_allclose(out.discount, [0.45])  # .5 * .9
    assert (out.observation, out.next_observation, out.mask) == (10, 20, 1)


def test_each_pair_of_rows_is_a_transition():
    rows = make_rows([F, M, L], [10, 20, 30], [11, 22, 33], [0, 1, 2], [1, 1, 0])
    pairs = jax.tree.map(lambda x: jnp.stack([x[0, :2], x[0, 1:]]), rows)
    out = transition_of(pairs, 1.0)
    np.testing.assert_array_equal(out.observation, [10, 20])
    np.testing.assert_array_equal(out.next_observation, [20, 30])
    np.testing.assert_array_equal(out.action, [11, 22])
    np.testing.assert_array_equal(out.reward, [0, 1])
    np.testing.assert_array_equal(out.discount, [1, 1])
    np.testing.assert_array_equal(out.mask, [1, 1])


def test_truncation_inside_the_window_stops_it_and_keeps_the_discount():
    rows = make_rows(
        [M, M, L, F, M], [1, 2, 3, 100, 200], [0] * 5, [1, 1, 50, 70, 90], [1, 1, 1, 1, 1]
    )
    out = transition_of(rows, 0.9)
    # 1 + .9, and nothing of the reset or of the next episode
    np.testing.assert_allclose(out.reward, [1.9], rtol=1e-6)
    # two steps, bootstrapped from the final observation
    np.testing.assert_allclose(out.discount, [0.81], rtol=1e-6)
    np.testing.assert_array_equal(out.next_observation, [3])


def test_termination_inside_the_window_has_discount_zero():
    rows = make_rows(
        [M, M, L, F, M], [1, 2, 3, 100, 200], [0] * 5, [1, 1, 50, 70, 90], [1, 0, 1, 1, 1]
    )
    out = transition_of(rows, 0.9)
    np.testing.assert_allclose(out.reward, [1.9], rtol=1e-6)
    np.testing.assert_array_equal(out.discount, [0])
    np.testing.assert_array_equal(out.next_observation, [3])


@pytest.mark.parametrize("length", [2, 4])
def test_a_window_that_starts_on_a_boundary_row_is_masked(length):
    rows = make_rows(
        [L, F, M, M][:length], [3, 1, 2, 3][:length], [0] * length, [5] * length, [1] * length
    )
    assert transition_of(rows, 0.9).mask == 0


def test_trees_and_a_traced_gamma():
    observation = {"a": [1, 2, 3], "b": ([4, 5, 6], [7, 8, 9])}
    rows = make_rows([F, L, F], observation, [0] * 3, [1, 1, 1], [1, 1, 1])
    out = jax.vmap(transition_of, in_axes=(None, 0))(rows, jnp.array([0.5, 0.25]))
    np.testing.assert_array_equal(out.discount, [[0.5], [0.25]])
    np.testing.assert_array_equal(out.next_observation["a"], [[2], [2]])
    np.testing.assert_array_equal(out.next_observation["b"][1], [[8], [8]])


def random_stream(seed, length):
    """Rows `[1, length]` with terminations, time limits and boundary rows, from anywhere."""
    rng = np.random.default_rng(seed)
    types, discounts = [int(rng.integers(3))], []
    for _ in range(length):
        if types[-1] == L:
            types.append(F)
            discounts.append(1.0)
        else:
            types.append(L if rng.random() < 0.35 else M)
            discounts.append(0.0 if types[-1] == L and rng.random() < 0.5 else 1.0)
    reward = rng.normal(size=length)
    return make_rows(
        types[:-1],
        rng.normal(size=length),
        [0] * length,
        reward,
        discounts,
        next_step_type=types[1:],
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_against_plain_python_on_random_streams(seed):
    rows = random_stream(seed, 5)
    out = transition_of(rows, 0.9)
    row = jax.tree.map(lambda x: x[0], rows)
    reward, discount, k = 0.0, 1.0, 0
    while k < 4 and row.step_type[k] != L:
        reward += discount * row.reward[k]
        discount *= 0.9 * row.discount[k]
        k += 1
    assert out.mask == float(row.step_type[0] != L)
    if out.mask:
        np.testing.assert_allclose(out.reward, [reward], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(out.discount, [discount], rtol=1e-5)
        np.testing.assert_array_equal(out.next_observation, [row.observation[k]])


def test_masks_resets_and_traces():
    rows = make_rows([F, M, L, F], [0] * 4, [0] * 4, [0] * 4, [1] * 4)
    np.testing.assert_array_equal(learnable(rows), [[1, 1, 0, 1]])
    np.testing.assert_array_equal(resets(rows), [[True, False, False, True]])
    np.testing.assert_allclose(trace_lambda(rows, 0.95), [[0.95, 0, 0.95, 0.95]])


def test_split_bootstrap():
    rows = make_rows([F, M, L, F], [1, 2, 3, 4], [0] * 4, [0] * 4, [1] * 4)
    steps, mask = split_bootstrap(rows)
    np.testing.assert_array_equal(steps.observation, [[1, 2, 3]])
    np.testing.assert_array_equal(mask, [[1, 1, 0]])


@pytest.mark.parametrize("reduce", [lambda rows: to_transition(rows, 0.9), split_bootstrap])
def test_too_few_rows(reduce):
    rows = make_rows([F], [1], [0], [0], [1])
    with pytest.raises(ValueError, match=r"got step types \[1, 1\]"):
        reduce(rows)
    with pytest.raises(ValueError, match=r"got step types \[1\]"):
        reduce(jax.tree.map(lambda x: x[0], rows))


def test_padding_is_what_repeats_a_boundary_row():
    rows = make_rows([F, L, L, F, M, L, F, L], [[0.0]] * 8, [0] * 8, [0.0] * 8, [1.0] * 8)
    assert padding(rows).tolist() == [[False, False, True, False, False, False, False, False]]
